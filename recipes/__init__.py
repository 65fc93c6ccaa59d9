"""Recipes: corpora, configuration and the stages of ``run.sh``; nothing imports this package."""
