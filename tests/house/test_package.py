"""What pip gets: wheel and source distribution hold what they should, and work outside the tree."""

import configparser
import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from house_rules import PACKAGES

import ivector

ROOT = Path(__file__).resolve().parents[2]
LEAST = 77  # of setuptools, as pyproject.toml asks for
BUILD = "from setuptools import build_meta as b; b.build_{}('dist')"
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "exp", "data", "htmlcov", "shared", "*.egg-info",
    ".coverage*", ".*_cache", ".hypothesis",
)  # fmt: skip


def tree(folder):
    """Copy of the tree, with what Python leaves beside it."""

    def ignored(where, names):
        skipped = NOT_OURS(where, names) if Path(where) == ROOT else set()
        return skipped | {name for name in names if name == "__pycache__"}

    shutil.copytree(ROOT, folder, ignore=ignored)
    for place in ("recipes", "recipes/cluster", "recipes/cluster/slurm", "tests/house"):
        (folder / place / "__pycache__").mkdir()
        (folder / place / "__pycache__/left.cpython-311.pyc").touch()
    return folder


def build(folder, kind):
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Deprecat" not in done.stderr
    (made,) = folder.glob("dist/*.whl" if kind == "wheel" else "dist/*.tar.gz")
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not here, and there is no network to get it in tests")
    import setuptools

    if int(setuptools.__version__.partition(".")[0]) < LEAST:
        pytest.skip(f"setuptools {setuptools.__version__} is older than {LEAST}")
    return tree(tmp_path_factory.mktemp("package") / "mein Gerät")


@pytest.fixture(scope="module")
def sdist(source):
    return build(source, "sdist")


@pytest.fixture(scope="module")
def wheel(source):
    return build(source, "wheel")


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def files_of(folder):
    """Files below a folder that belong to the project, relative to it."""
    made = re.compile(r"(^|/)(__pycache__|dist|build|[^/]*\.egg-info)(/|$)")
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in paths if not made.search(path)}


def test_the_wheel_holds_the_packages_and_nothing_else(wheel, source):
    names = names_in(wheel)
    info = {name for name in names if re.match(r"ivector_plda-[\d.]+\.dist-info/", name)}
    assert names - info == {
        path for path in files_of(source) if path.partition("/")[0] in PACKAGES and "/" in path
    }
    assert {name.partition("/")[2] for name in info} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"
    }  # fmt: skip


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        told = email.message_from_bytes(archive.read(name))
        entry = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert (told["Name"], told["Version"]) == ("ivector-plda", ivector.__version__)
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Author"] and told["Keywords"] and told["Requires-Python"] == ">=3.10"
    classifiers = told.get_all("Classifier")
    for minor in range(10, 14):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert "Typing :: Typed" in classifiers and not any("License" in one for one in classifiers)
    assert entry == "[console_scripts]\nivector-plda = recipes.program:main\n"


def test_the_source_distribution_holds_the_tree(sdist, source):
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO"}
    # What is of the repository alone.
    assert names - made == files_of(source) - {".gitignore"}
    assert {"constraints.txt", "tests/run.sh", "recipes/run.sh", "pyproject.toml"} <= names


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.iterdir()
    assert names_in(build(unpacked, "wheel")) == names_in(wheel)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_wheel_plans_a_recipe_outside_the_tree(wheel, tmp_path):
    """With the packages of this Python; nothing is written beside the code."""
    site, place = tmp_path / "site packages", tmp_path / "place"
    place.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    given = {"PYTHON": sys.executable, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["bash", str(site / "recipes/run.sh"), "--dry-run"], cwd=place, capture_output=True,
        text=True, env={**os.environ, **given},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"run   {place}/data/synthetic" in done.stdout
    assert str(ROOT) not in done.stdout and not list(place.iterdir())
    assert {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()} == (
        names_in(wheel)
    )


def test_the_version_is_one():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.M)[1] == ivector.__version__
    assert re.search(r"^version: (\S+)$", citation, re.M)[1] == ivector.__version__


def test_tests_have_what_they_build_with():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert f"setuptools>={LEAST}" in setup["options.extras_require"]["test"].split()
    assert f'"setuptools>={LEAST}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
