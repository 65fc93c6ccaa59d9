"""docs/systems.md: every command that it names is there, with the options that it is given."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`((?:bash|python) [^`]+)`", PAGE)))
SUBCOMMANDS = ("train", "test", "predict", "sweep", "report")


def help_command(words):
    """The command that tells the options of a command."""
    if words[0] == "bash":
        return ["bash", words[1], "--help"]
    sub = [word for word in words[3:4] if word in SUBCOMMANDS and words[2] == "dnn.identify"]
    return [sys.executable, *words[1:3], *sub, "--help"]


def known_options(words):
    """What it takes: of --help, or the variables on top of a recipe."""
    environment = {**os.environ, "PYTHON": sys.executable, "COLUMNS": "200"}
    command = help_command(words)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    options = set(re.findall(r"--[a-z][\w-]*", done.stdout))
    if "variables on top of" in done.stdout:
        text = (ROOT / words[1]).read_text(encoding="utf-8").split("help_message=")[0]
        names = re.findall(r"^([a-z]\w*)=", text, re.MULTILINE)
        options |= {f"--{name.replace('_', '-')}" for name in names}
    return options


def test_all_systems_are_there():
    assert len(re.findall(r"^## ", PAGE, re.MULTILINE)) == 6 and len(COMMANDS) > 40


def test_tests_that_the_page_names_are_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 12
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


@pytest.mark.parametrize("door", sorted({" ".join(help_command(c.split())) for c in COMMANDS}))
def test_a_command_takes_the_options_that_the_page_gives_it(door):
    mine = [c.split() for c in COMMANDS if " ".join(help_command(c.split())) == door]
    known = known_options(mine[0])
    for words in mine:
        given = {word for word in words if re.fullmatch(r"--[a-z][\w-]*", word)}
        assert given <= known, f"{' '.join(words)}: no {sorted(given - known)}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m dnn.")])
def test_a_command_of_networks_is_understood(command):
    """Its words are parsed; the files are not there."""
    import importlib
    import shlex

    _, _, module, *words = shlex.split(command)
    importlib.import_module(module).make_parser().parse_args(words)
