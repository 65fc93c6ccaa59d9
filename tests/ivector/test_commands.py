"""Tables of commands: listed without loading them, each is what its line says, one is run."""

import importlib
import re
import subprocess
import sys

import pytest

import ivector.commands
import plda.commands
from ivector.base.commands import run_command

TABLES = {"ivector": ivector.commands.COMMANDS, "plda": plda.commands.COMMANDS}
EVERY = [(package, name) for package, table in TABLES.items() for name in table]


@pytest.mark.parametrize("package", TABLES)
def test_listing_is_quick_to_make(package):
    """It has every command with its line, and loads nothing that computes."""
    code = (
        f"import runpy, sys; sys.argv = ['{package}']\n"
        "try:\n"
        f"    runpy.run_module('{package}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *listed, loaded = done.stdout.splitlines()
    for name, command in TABLES[package].items():
        assert any(re.fullmatch(rf" *{name} +{re.escape(command.line)}", line) for line in listed)
    assert not {"numpy", "scipy", "sklearn", "numba"} & set(loaded.split())


@pytest.mark.parametrize(("package", "name"), EVERY)
def test_commands_are_modules_with_a_parser(package, name, capsys):
    module = importlib.import_module(TABLES[package][name].module)
    assert callable(module.main)
    assert module.make_parser().description
    with pytest.raises(SystemExit, match="0"):
        run_command(package, TABLES[package], [name, "--help"])
    assert "usage: python -m " in capsys.readouterr().out


def test_unknown_commands_are_told_in_one_line(capsys):
    assert run_command("plda", TABLES["plda"], ["scor"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no command 'scor' (did you mean score?)" in told


@pytest.mark.parametrize("words", [["plda.score"], ["plda", "score"], ["ivector.features.store"]])
def test_doors_lead_to_commands(words):
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")
