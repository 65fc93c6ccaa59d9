"""The shell frame: options as data, never as code; an interpreter that has the packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")

SCRIPT = """set -euo pipefail
nj=4; clean=false; text="a b"; long_name=
help_message="Usage: script"
. "{parse}"
printf '<%s>' "$nj" "$clean" "$text" "$long_name" "$@"
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.sh"
    path.write_text(SCRIPT.format(parse=(ROOT / "recipes" / "parse_options.sh").as_posix()))

    def call(*arguments):
        return subprocess.run(
            [BASH, str(path), *arguments], capture_output=True, text=True, cwd=tmp_path
        )

    return call


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "<4><false><a b><>"),
        (["--nj", "3", "--clean=true"], "<3><true><a b><>"),
        (["--long-name", "x y", "--text", ""], "<4><false><><x y>"),
        (["--text=", "--long-name=--z=1"], "<4><false><><--z=1>"),
        (["--text", 'it\'s "so" $HOME `id` \\'], '<4><false><it\'s "so" $HOME `id` \\><>'),
        (["--nj", "-1", "one", "t w o"], "<-1><false><a b><><one><t w o>"),
        (["--nj", "2", "--", "--clean"], "<2><false><a b><><--clean>"),
        (["--help"], "Usage: script\n"),
        (["--nj", "2", "-h"], "Usage: script\n"),
    ],
)
def test_options_are_set(script, arguments, printed):
    result = script(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--njj", "3"], "unknown option --njj"),
        (["--nj"], "needs a value"),
        (["--nj", "--clean", "true"], "needs a value"),
        (["--clean", "yes"], "true or false"),
        (["--clean="], "true or false"),
        (["-n", "3"], "unknown option -n"),
        (["--long_name", "x"], "unknown option"),
        (["--PATH", "/"], "unknown option --PATH"),
        (["--IFS", "/"], "unknown option --IFS"),
        (["--nj[$(touch hit)]", "3"], "unknown option"),
        (["--nj[$(touch hit)]=3"], "unknown option"),
        (["--_po_used", "3"], "unknown option"),
        (["--x;touch hit", "3"], "unknown option"),
        (["--config", "absent.conf"], "no such file"),
        (["--config", "."], "no such file"),
    ],
)
def test_mistakes_end_with_status_2(script, tmp_path, arguments, said):
    result = script(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "hit").exists()


def test_config_is_read_before_the_options(script, tmp_path):
    text = "# comment\n\nnj=7  # of jobs\r\ntext='two $(touch hit) words'\n"
    (tmp_path / "my.conf").write_text(text + 'long_name="x # y"\nclean=true', newline="")
    result = script("--nj", "9", "--config", "my.conf")
    assert result.stdout == "<9><true><two $(touch hit) words><x # y>"
    assert script("--config=my.conf").stdout.startswith("<7>")
    (tmp_path / "more.conf").write_text("nj=8\n")
    assert script("--config", "my.conf", "--config", "more.conf").stdout.startswith("<8>")
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize(
    "line",
    [
        "touch hit",
        "nj=$(touch hit)",
        "nj=`touch hit`",
        'nj="$(touch hit)"',
        'nj="`touch hit`"',
        "nj=1; touch hit",
        "nj=1 touch hit",
        "nj=1 && touch hit",
        "nj=1 | touch hit",
        "nj=1 > hit",
        "nj=1\\",
        "nj=$((1))",
        "text='a'$(touch hit)'b'",
        "nj[0]=1",
        "nj+=1",
        "export nj=1",
        "source other",
        "unknown=1",
        "PATH=.",
        "clean=maybe",
    ],
)
def test_config_is_never_run(script, tmp_path, line):
    (tmp_path / "bad.conf").write_text(f"nj=3\n{line}\n")
    result = script("--config", "bad.conf")
    assert result.returncode == 2
    assert "bad.conf, line 2" in result.stderr
    assert not (tmp_path / "hit").exists()


FAKE = """#!{bash}
# An interpreter that says what the files beside it say.
here={folder}
if [ "$1" = - ]; then
  if [ -e "$here/installed" ] && [ "${{0##*/}}" = python ]; then echo; else cat "$here/probe"; fi
elif [ "$2" = venv ]; then
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
elif [ "$2" = pip ]; then
  echo "$@" >>"$here/pip"
  [ ! -e "$here/broken" ] || {{ echo "ERROR: no route to host"; exit 1; }}
  touch "$here/installed"
fi
"""


@pytest.fixture
def tree(tmp_path):
    """A repository of its own with a fake python3 on the path; returns (root, call)."""
    root, tools = tmp_path / "a repository", tmp_path / "tools"
    (root / "recipes").mkdir(parents=True)
    tools.mkdir()
    shutil.copy(ROOT / "recipes" / "path.sh", root / "recipes")
    fake = tools / "python3"
    fake.write_text(FAKE.format(bash=BASH, folder=tools))
    fake.chmod(0o755)
    (tools / "probe").write_text("numpy numba\n")
    for name in ("dirname", "cat", "rm", "mkdir", "cp", "touch", "grep", "tail"):
        (tools / name).symlink_to(shutil.which(name))

    def call(**more):
        code = '. recipes/path.sh || exit 1; echo "$PYTHON|$PYTHONPATH|$LC_ALL"'
        return subprocess.run(
            [BASH, "-c", "set -euo pipefail; " + code],
            capture_output=True,
            text=True,
            cwd=root,
            env={"PATH": str(tools), **more},
        )

    return root, tools, call


def test_path_takes_the_interpreter_that_has_the_packages(tmp_path):
    env = {**os.environ, "PYTHON": sys.executable, "NEEDS": "test", "PYTHONPATH": "/elsewhere"}
    code = f'cd /; . "{ROOT}/recipes/path.sh" || exit 1; echo "$PYTHON|$PYTHONPATH|$LC_ALL"'
    result = subprocess.run([BASH, "-c", code], capture_output=True, text=True, env=env)
    assert result.stdout.strip() == f"{sys.executable}|{ROOT}:/elsewhere|C"
    assert result.stderr == ""


def test_path_installs_once(tree):
    root, tools, call = tree
    first = call(NEEDS="test")
    assert first.returncode == 0, first.stderr
    python = root / ".venv" / "bin" / "python"
    assert first.stdout.strip() == f"{python}|{root}|C"
    assert "installing" in first.stderr
    assert "-c constraints.txt -e .[test]" in (tools / "pip").read_text()
    assert not (root / ".venv" / ".installing").exists()
    second = call(NEEDS="test")
    assert second.stdout == first.stdout
    assert second.stderr == ""
    assert len((tools / "pip").read_text().splitlines()) == 1


def test_path_makes_an_interrupted_installation_again(tree):
    root, tools, call = tree
    (tools / "broken").touch()
    failed = call()
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "no route to host" in failed.stderr
    assert "could not be installed" in failed.stderr
    (root / ".venv" / "half").touch()
    (tools / "broken").unlink()
    # Even where all modules can be found by now.
    (tools / "installed").touch()
    assert call().returncode == 0
    assert not (root / ".venv" / "half").exists()
    assert not (root / ".venv" / ".installing").exists()


def test_path_completes_a_venv_of_the_users(tree):
    root, tools, call = tree
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tools / "python3", root / ".venv" / "bin" / "python")
    (root / ".venv" / "mine").touch()
    (tools / "broken").touch()
    assert call().returncode == 1
    (tools / "broken").unlink()
    assert call().returncode == 0
    assert (root / ".venv" / "mine").exists()


def test_path_names_cause_and_cure(tree):
    root, tools, call = tree
    (tools / "probe").write_text("version 3.8\n")
    result = call()
    assert result.returncode == 1
    assert "Python 3.10 or newer is needed (python3 is 3.8)" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    (tools / "probe").write_text("extra foo\n")
    assert "there is no extra foo" in call(NEEDS="foo").stderr
    (tools / "python3").unlink()
    assert "no python3 found" in call().stderr
    assert not (root / ".venv").exists()


def test_constraints_pin_what_is_installed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and "/" not in line for line in pins)
    assert "torch==2.13.0" in pins
    assert pins == sorted(pins, key=str.lower)
