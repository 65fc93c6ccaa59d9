"""The program ``ivector-plda``: lists and runs the commands of all packages, and the recipes."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ivector.base.cli import guarded
from ivector.base.commands import run_command
from ivector.base.errors import UsageError
from recipes.commands import COMMANDS, HERE, scripts

PROG = "ivector-plda"
PACKAGES = ("ivector", "plda", "dnn", "fusion", "recipes")
OWN = {
    "where": "print the folder of the recipes",
    "--version": "print the version",
    "--help": "print this",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``ivector-plda``.

    Parameters
    ----------
    argv : sequence of str, optional
        A package, a command of it and its words; a recipe and its options; or one of `OWN`. Words
        of this process by default.

    Returns
    -------
    int
        Exit status, as of `ivector.base.cli.run`.

    Examples
    --------
    >>> main(["--version"])
    ivector-plda 0.1.0
    0
    """
    name, *words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    return guarded(PROG, lambda: run(name, words))


def run(name: str, words: Sequence[str]) -> int:
    """Do what the first word says.

    Raises
    ------
    UsageError
        There is no such word.
    """
    if name in ("--help", "-h"):
        print(listing(), flush=True)
    elif name == "--version":
        print(f"{PROG} {importlib.import_module('ivector').__version__}")
    elif name == "where":
        print(HERE)
    elif name in PACKAGES:
        return run_recipes(words) if name == "recipes" else run_command(name, table(name), words)
    elif name in scripts():
        return run_script(name, words)
    else:
        near = get_close_matches(name, (*OWN, *PACKAGES, *scripts()), 1)
        guess = "".join(f" (did you mean {one}?)" for one in near)
        raise UsageError(f"there is no command {name!r}{guess}; --help lists all")
    return 0


def run_recipes(words: Sequence[str]) -> int:
    """``python -m recipes``: a command of the recipes, or a recipe by name."""
    if words and words[0] in scripts():
        return run_script(words[0], words[1:])
    status = run_command("recipes", COMMANDS, words)
    if not words or words[0] in ("--help", "-h"):
        print("\nRecipes, which need bash:\n", *columns(recipe_lines()), sep="\n", flush=True)
    return status


def run_script(name: str, words: Sequence[str]) -> int:
    """Run a recipe with this interpreter, unless PYTHON names another; where it can, in its place.

    Raises
    ------
    UsageError
        There is no bash.
    """
    bash = shutil.which("bash")
    if bash is None:
        raise UsageError(f"{name} is a bash script, and no bash is found (Windows: install Git's)")
    path, _ = scripts()[name]
    environment = {**os.environ, "PYTHON": os.environ.get("PYTHON") or sys.executable}
    command = [bash, str(path), *words]
    if os.name == "posix":  # signals reach the recipe itself
        sys.stdout.flush()
        os.execve(bash, command, environment)
    return subprocess.call(command, env=environment)


def table(package: str) -> dict:
    """Commands of a package."""
    return importlib.import_module(f"{package}.commands").COMMANDS


def listing() -> str:
    """Every command with a line about it, by package."""
    blocks = [
        f"usage: {PROG} PACKAGE COMMAND ...   (--help behind a command tells its options)\n"
        f"       {PROG} RECIPE ...",
        "\n".join(columns(OWN.items())),
    ]
    for package in PACKAGES:
        about = (importlib.import_module(package).__doc__ or "").splitlines()[0]
        rows = [(f"{package} {name}", command.line) for name, command in table(package).items()]
        blocks.append("\n".join([about, *columns(rows)]))
    blocks.append("\n".join(["Recipes, which need bash:", *columns(recipe_lines())]))
    return "\n\n".join(blocks)


def recipe_lines() -> list[tuple[str, str]]:
    """Name and line of every recipe."""
    return [(name, line) for name, (_, line) in scripts().items()]


def columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Rows of a list, the second column beginning at the same place in all lists."""
    return [f"  {name:26}  {line}" for name, line in rows]
