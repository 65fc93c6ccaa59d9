"""Tables of commands: complete and quick to list, and each is what its line says."""

import importlib
import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ivector.base.commands import run_command

ROOT = Path(__file__).parents[2]
TABLES = {
    package: importlib.import_module(f"{package}.commands").COMMANDS
    for package in ("ivector", "plda", "dnn", "fusion", "recipes")
    if importlib.util.find_spec(f"{package}.commands")
}
EVERY = [(package, name) for package, table in TABLES.items() for name in table]
# Programs that other programs start.
PARTS = {"recipes.steps.__main__", "recipes.cluster.slurm.start", "recipes.cluster.pipeline"}


def help_of(start, capsys):
    """What --help prints first: the door that the usage names, and the sentence below it."""
    with pytest.raises(SystemExit, match="0"):
        start()
    told = capsys.readouterr().out
    return re.match(r"usage: python -m (\S+) ", told)[1], told.split("\n\n")[1].replace("\n", " ")


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
    slow = {"numpy", "scipy", "sklearn", "numba", "torch", "matplotlib", "joblib"}
    assert not slow & set(loaded.split())


@pytest.mark.parametrize(("package", "name"), EVERY)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_command_is_the_same_by_either_door(package, name, capsys, monkeypatch):
    """By the table and by the module that its usage names, whose help opens with the line."""
    command = TABLES[package][name]
    door, told = help_of(lambda: run_command(package, TABLES[package], [name, "--help"]), capsys)
    assert told == command.sentence
    monkeypatch.setattr(sys, "argv", [door, "--help"])
    again = help_of(lambda: runpy.run_module(door, run_name="__main__"), capsys)
    assert again == (door, told)
    assert callable(importlib.import_module(command.module).main)


@pytest.mark.parametrize("package", TABLES)
def test_every_program_is_a_command_or_a_door_to_one(package):
    listed = {command.module for command in TABLES[package].values()}
    programs, doors = set(), {f"{package}.__main__"}
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if '\nif __name__ == "__main__":\n' in text:
            programs.add(module)
            leads = re.search(r"from (\S+) import main, make_parser", text)
            if leads and leads[1] in listed:
                doors.add(module)
                programs.add(leads[1])
    assert programs - doors - PARTS == listed - PARTS


@pytest.mark.parametrize(("package", "name"), EVERY)
def test_maps_say_of_commands_what_the_table_says(package, name):
    room, _, module = TABLES[package][name].module.rpartition(".")
    text = importlib.import_module(room).__doc__
    if module != "__main__":
        (line,) = re.findall(rf"^{module} {{2,}}(.*)$", text, re.MULTILINE)
        assert line.rstrip(".").lower() == TABLES[package][name].line.lower()


def test_a_command_sees_its_own_words(monkeypatch):
    seen = []
    monkeypatch.setattr("fusion.lint.main", lambda arguments: seen.extend(sys.argv[1:]))
    before = list(sys.argv)
    assert run_command("fusion", TABLES["fusion"], ["lint", "scores", "trials"]) == 0
    assert seen == ["scores", "trials"] and sys.argv == before


def test_unknown_commands_are_told_in_one_line(capsys):
    assert run_command("plda", TABLES["plda"], ["scor"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no command 'scor' (did you mean score?)" in told


@pytest.mark.parametrize("words", [["plda", "score"], ["fusion", "evaluate"], ["dnn", "train"]])
def test_packages_run_their_commands(words):
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"usage: python -m {'.'.join(words)} ")
