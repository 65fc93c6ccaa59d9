"""``python -m recipes`` lists commands and recipes, with the name of one it runs that one."""

import sys

from ivector.base.cli import guarded
from recipes.program import run_recipes

if __name__ == "__main__":
    sys.exit(guarded("python -m recipes", lambda: run_recipes(sys.argv[1:])))
