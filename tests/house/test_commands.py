"""Tables of commands: complete and quick to list, and each is what its line says.

``python tests/house/test_commands.py --update`` writes docs/commands.md anew.
"""

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ivector.base.commands import run_command
from ivector.base.errors import Exit
from recipes.commands import scripts

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "commands.md"
TABLES = {
    package: importlib.import_module(f"{package}.commands").COMMANDS
    for package in ("ivector", "plda", "fusion", "dnn", "recipes")
}
EVERY = [(package, name) for package, table in TABLES.items() for name in table]
# Programs that other programs start.
PARTS = {"recipes.steps.__main__", "recipes.cluster.slurm.start", "recipes.cluster.pipeline"}


def page():
    """All commands and recipes, as docs/commands.md has them."""
    rows = [
        f"| `python -m {package} {name}` | {command.sentence} |"
        for package, table in TABLES.items()
        for name, command in table.items()
    ]
    rows += [f"| `bash recipes/{path.name}` | {line} |" for path, line in scripts().values()]
    return (
        "# Commands\n\n"
        "Each tells its options with `--help`. Where the toolkit is installed, "
        "`ivector-plda fusion evaluate`\nis `python -m fusion evaluate`, and `ivector-plda run` is "
        "`bash recipes/run.sh`.\n\n"
        "| command | what it does |\n|---|---|\n" + "\n".join(rows) + "\n\n"
        "## Exit statuses\n\n"
        "A mistake is told in one line on standard error, which names the file or the option.\n\n"
        "| status | what it says |\n|---|---|\n"
        + "".join(f"| {code:d} | {code.meaning} |\n" for code in Exit)
    )


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


def test_the_page_lists_what_the_tables_do():
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("usage: python tests/house/test_commands.py --update")
    PAGE.write_text(page(), encoding="utf-8")
