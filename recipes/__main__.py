"""``python -m recipes`` lists commands and recipes, with the name of one it runs that one."""

import sys

from recipes.program import run_recipes

if __name__ == "__main__":
    sys.exit(run_recipes(sys.argv[1:]))
