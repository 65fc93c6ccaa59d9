"""The shell frame: options as data, never as code; an interpreter that has the packages."""

import os
import re
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


@pytest.fixture(autouse=True)
def nobody_has_chosen_a_python(monkeypatch):
    """As in a shell of a user; tests/run.sh has taken one, and says so to what it starts."""
    monkeypatch.delenv("RECIPE_PYTHON", raising=False)


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
if [ "$1" = -c ]; then
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
    root, tools = tmp_path / "mein Gerät", tmp_path / "tools"
    (root / "recipes").mkdir(parents=True)
    tools.mkdir()
    shutil.copy(ROOT / "recipes" / "path.sh", root / "recipes")
    shutil.copy(ROOT / "setup.cfg", root)
    fake = tools / "python3"
    fake.write_text(FAKE.format(bash=BASH, folder=tools))
    fake.chmod(0o755)
    (tools / "probe").write_text("numpy numba\n")
    for name in ("dirname", "cat", "rm", "mkdir", "cp", "touch", "grep", "tail", "uname"):
        (tools / name).symlink_to(shutil.which(name))

    def call(**more):
        code = '. recipes/path.sh || exit; echo "$PYTHON|$PYTHONPATH|$LC_ALL"'
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
    code = f'cd /; . "{ROOT}/recipes/path.sh" || exit; echo "$PYTHON|$PYTHONPATH|$LC_ALL"'
    result = subprocess.run([BASH, "-c", code], capture_output=True, text=True, env=env)
    assert result.stdout.strip() == f"{sys.executable}|{ROOT}:/elsewhere|C"
    assert result.stderr == ""


def test_path_installs_once(tree):
    root, tools, call = tree
    first = call(NEEDS="test")
    assert first.returncode == 0, first.stderr
    python = root / ".venv" / "bin" / "python"
    assert first.stdout.strip() == f"{python}|{root}|C"
    assert "installing the packages into .venv" in first.stderr and "about 800 MB" in first.stderr
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


def refused(result, *said):
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    for text in said:
        assert text in line


def test_path_takes_a_given_python_or_refuses_it(tree):
    root, tools, call = tree
    given = tools / "mine"
    shutil.copy(tools / "python3", given)
    pip = f"{given} -m pip install 'numpy' 'numba'"
    refused(call(PYTHON=str(given)), pip, "or unset PYTHON")
    (tools / "probe").write_text("version 3.8\n")
    refused(call(PYTHON=str(given)), f"PYTHON={given} is Python 3.8; 3.10 or newer is needed")
    refused(call(PYTHON="/absent"), "PYTHON=/absent does not run")
    assert not (root / ".venv").exists() and not (tools / "pip").exists()
    (tools / "probe").write_text("\n")
    for name in (str(given), "mine"):
        assert call(PYTHON=name).stdout.startswith(f"{given}|")
    # As a recipe does that is called among the tools.
    code = f'cd "{tools}"; cd "{root}"; . recipes/path.sh || exit; echo "$PYTHON"'
    environment = {"PATH": str(tools), "PYTHON": "./mine"}
    called = subprocess.run([BASH, "-c", code], capture_output=True, text=True, env=environment)
    assert called.stdout == f"{tools}/./mine\n"


def test_path_may_replace_what_it_chose_itself(tree):
    root, _, call = tree
    done = call(PYTHON="python3", RECIPE_PYTHON="python3", NEEDS="dnn")
    assert done.stdout.startswith(f"{root}/.venv/bin/python|")
    assert "a torch for the CPU that is in .venv already is kept" in done.stderr


def test_path_installs_nothing_where_that_is_forbidden(tree):
    root, tools, call = tree
    done = call(NO_INSTALL="true")
    assert (done.returncode, done.stdout) == (3, "")
    assert "would install into .venv, with python3: numpy numba (about 600 MB)" in done.stderr
    assert not (root / ".venv").exists() and not (tools / "pip").exists()


def test_path_in_a_tree_that_cannot_be_written(tree):
    _, tools, call = tree
    (tools / "mkdir").unlink()
    (tools / "mkdir").write_text(f"#!{BASH}\nexit 1\n")
    (tools / "mkdir").chmod(0o755)
    done = call()
    assert done.returncode == 1
    assert "cannot be written; make an environment elsewhere (python3 -m venv" in done.stderr
    assert not (tools / "pip").exists()


@pytest.fixture
def installed(tree):
    """The same where pip has put it: no setup.cfg; (environment, its packages)."""
    root, _, _ = tree
    (root / "setup.cfg").unlink()
    environment = root.parent / "environment"
    packages = environment / "lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (environment / "bin").mkdir()
    (root / "recipes").rename(packages / "recipes")
    return environment, packages


def test_path_of_an_installed_toolkit_takes_its_python(installed, tree):
    environment, packages = installed
    python = environment / "bin/python3"
    shutil.copy(tree[1] / "python3", python)
    (tree[1] / "python3").unlink()
    code = f'. "{packages}/recipes/path.sh" || exit; echo "$PYTHON|$PYTHONPATH|$NUMBA_CACHE_DIR"'

    def source(**more):
        return subprocess.run(
            [BASH, "-c", code], capture_output=True, text=True, env={"PATH": str(tree[1]), **more}
        )

    refused(source(), f"{python} lacks packages; install them: {python} -m pip install 'numpy'")
    assert "unset" not in source(PYTHON=str(python)).stderr
    (tree[1] / "probe").write_text("\n")
    assert source(HOME="/h").stdout == f"{python}|{packages}|/h/.cache/ivector-plda\n"
    assert source(HOME="/h", NUMBA_CACHE_DIR="/n").stdout.endswith("|/n\n")
    (tree[1] / "probe").write_text("stranger\n")
    refused(source(), f"no Python is found that the toolkit in {packages} was installed with")
    refused(source(PYTHON=str(python)), "is not the Python that this toolkit was installed with")
    assert not list(packages.glob("*/.venv")) and not (tree[1] / "pip").exists()


REQUIREMENTS = """[options]
install_requires =
    numpy>=1.26
    no-such-thing>=2
    pytest>=9999
[options.extras_require]
one =
    dask[distributed]>=2024.1
    nothing_like_it
all =
    ivector-plda[one]
"""


@pytest.mark.parametrize(
    ("needs", "lacks"),
    [
        ("", "'no-such-thing>=2' 'pytest>=9999'"),
        ("one", "'no-such-thing>=2' 'pytest>=9999' 'nothing_like_it'"),
        ("all,one", "'no-such-thing>=2' 'pytest>=9999' 'nothing_like_it'"),
    ],
)
def test_what_is_needed_is_read_where_it_is_declared(tmp_path, needs, lacks):
    """In setup.cfg, or in what pip noted of it."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    shutil.copy(ROOT / "recipes/path.sh", recipes)
    (tmp_path / "setup.cfg").write_text(REQUIREMENTS)

    given = {"PYTHON": sys.executable, "NEEDS": needs, "PYTHONPATH": str(tmp_path)}

    def source():
        return subprocess.run(
            [BASH, "-c", f'. "{recipes}/path.sh"'], capture_output=True, text=True,
            env={**os.environ, **given},
        )  # fmt: skip

    refused(source(), f"pip install {lacks};")
    (tmp_path / "setup.cfg").unlink()
    noted = tmp_path / "ivector_plda-0.1.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ivector-plda\nVersion: 0.1\n"
        "Requires-Dist: numpy>=1.26\nRequires-Dist: no-such-thing>=2\n"
        "Requires-Dist: pytest>=9999\nRequires-Dist: old; python_version < '3'\n"
        "Requires-Dist: dask[distributed]>=2024.1; extra == 'one'\n"
        'Requires-Dist: nothing_like_it; extra == "one"\nProvides-Extra: one\n'
        "Requires-Dist: ivector-plda[one]; extra == 'all'\nProvides-Extra: all\n"
    )
    refused(source(), f"pip install {lacks}")


def test_neither_a_dry_run_nor_help_installs_anything(tmp_path):
    """The Python at hand has no packages."""
    root, tools = tmp_path / "tree", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    for name in ("ivector", "plda", "dnn", "fusion", "recipes", "setup.cfg", "constraints.txt"):
        (root / name).symlink_to(ROOT / name)
    (tools / "python3").write_text(f'#!{BASH}\nexec "{sys.executable}" -S "$@"\n')
    (tools / "python3").chmod(0o755)
    for name in ("dirname", "cat", "date", "grep", "sed", "uname"):
        (tools / name).symlink_to(shutil.which(name))
    (tmp_path / "my.conf").write_text("dry_run=true\n")
    for words in (["--dry-run"], ["--config", "my.conf"], ["--dry-run=true", "--xvector-config=x"]):
        (tmp_path / "x").touch()
        done = subprocess.run(
            [BASH, str(root / "recipes/run.sh"), *words], capture_output=True, text=True,
            cwd=tmp_path, env={"PATH": str(tools)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "would install into .venv, with python3: numpy>=1.26 " in done.stderr
        assert "stages can be planned when they are there" in done.stdout
    done = subprocess.run(
        [BASH, str(root / "recipes/run.sh"), "--help"], capture_output=True, text=True,
        cwd=tmp_path, env={"PATH": str(tools)},
    )  # fmt: skip
    assert done.returncode == 0 and "bash recipes/run.sh --dry-run" in done.stdout
    assert {path.name for path in root.iterdir()} & {".venv", "data", "exp"} == set()


SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("recipes/**/*.sh", "recipes/**/*.sbatch", "tests/run.sh", ".ci/run")
    for path in ROOT.glob(pattern)
)
# What bash 3.2, as of macOS, or the tools of BSD do not know.
TOO_NEW = (
    r"\b(mapfile|readarray|coproc)\b|\b(declare|local|typeset) -[a-z]*[An]|\$\{\w+(,,|\^\^|@)"
    r"|&>>|\|&|\[\[ -v |\bsed -i|\breadlink -f|\bgrep -P|\bdate \S*%N|\bstat -c|\bnproc\b"
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_of_an_old_bash_too(name):
    done = subprocess.run([BASH, "--posix", "-n", name], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if not line.lstrip().startswith(("#", "eval "))]
    assert [line for line in code if re.search(TOO_NEW, line)] == []


@pytest.mark.parametrize("line", ["mapfile -t x", "local -n a=b", 'echo "${x,,}"', "a |& b"])
def test_what_is_too_new_is_found(line):
    assert re.search(TOO_NEW, line)


def test_constraints_pin_what_is_installed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and "/" not in line for line in pins)
    assert "torch==2.13.0" in pins
    assert pins == sorted(pins, key=str.lower)
