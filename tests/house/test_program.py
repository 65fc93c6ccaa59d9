"""The program ``ivector-plda``: it lists everything, and runs what it lists."""

import importlib
import os
import re
import shutil
import subprocess
import sys

import pytest

from recipes.commands import HERE, scripts
from recipes.program import PACKAGES, PROG, main, run_recipes

START = "import sys; from recipes.program import main; sys.exit(main())"


def program(*words, **more):
    return subprocess.run(
        [sys.executable, "-c", START, *words], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)}, **more,
    )  # fmt: skip


def listed(text):
    return dict(re.findall(r"^  (\S.*?)  +(\S.*)$", text, re.M))


def test_help_lists_everything_and_loads_nothing():
    code = "import sys; from recipes.program import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.rstrip().rpartition("\n")
    told = listed(text)
    for package in PACKAGES:
        for name, command in importlib.import_module(f"{package}.commands").COMMANDS.items():
            assert told.pop(f"{package} {name}") == command.line
    assert {name: told.pop(name) for name in scripts()} == {n: s[1] for n, s in scripts().items()}
    assert set(told) == {"where", "--version", "--help"}
    slow = {"numpy", "scipy", "sklearn", "numba", "torch", "matplotlib", "joblib"}
    assert not slow & set(loaded.split())


def test_recipes_are_the_scripts_that_are_run():
    assert {"run", "voxsrc", "deep_speaker"} < set(scripts())
    assert not {"path", "parse_options", "network", "closed_set"} & set(scripts())
    assert all(line.endswith(".") for _, line in scripts().values())


def test_recipes_list_their_commands_and_themselves(capsys):
    assert run_recipes([]) == 0
    told = listed(capsys.readouterr().out)
    assert {"validate", "prepare", "select", *scripts()} <= set(told)


def test_version_and_place(capsys):
    assert main(["--version"]) == main(["where"]) == 0
    version, where = capsys.readouterr().out.splitlines()
    assert version == f"{PROG} {importlib.import_module('ivector').__version__}"
    assert where == str(HERE) and (HERE / "run.sh").is_file()


@pytest.mark.parametrize(
    ("word", "guess"),
    [("plad", "(did you mean plda?)"), ("voxscr", "(did you mean voxsrc?)"), ("x;y", "'x;y';")],
)
def test_a_word_that_there_is_not_is_told(word, guess, capsys):
    assert main([word]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{PROG}: error: there is no command") and told.count("\n") == 1
    assert guess in told


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["plda", "score"], "plda.score"),
        (["recipes", "inner-folds"], "recipes.inner_folds"),
    ],
)
def test_commands_are_run(words, module, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: python -m {module} ")


def test_a_commands_status_is_the_programs(capsys):
    assert main(["recipes", "validate", "absent"]) == 1
    assert "absent: no such folder" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_recipe_is_run_by_this_python_and_begins_where_it_is_called(tmp_path):
    """A plan names the folders, and writes nothing."""
    done = program("run", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/data/synthetic" in done.stdout
    assert f"{tmp_path}/exp/synthetic/report" in done.stdout
    assert str(HERE.parent) not in done.stdout
    assert not list(tmp_path.iterdir())
    refused = program("recipes", "run", "--rank", "x", cwd=tmp_path)
    assert refused.returncode == 2 and "--rank takes" in refused.stderr


def test_a_recipe_without_bash_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert main(["run"]) == 2
    assert "run is a bash script, and no bash is found" in capsys.readouterr().err
