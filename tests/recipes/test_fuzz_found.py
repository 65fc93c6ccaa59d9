"""What the coverage-guided fuzzer found (``tests/fuzz/guided.py``) stays mended."""

import warnings
from pathlib import Path

import pytest
from fuzz import guided

FOUND = sorted(guided.FOUND.iterdir())
pytest.importorskip("torch", reason="networks are among the files that are written")


@pytest.fixture(scope="module")
def targets():
    with guided.world():
        yield [guided.Target(name) for name in guided.TARGETS]


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_findings_are_read_or_refused(targets, path: Path):
    """Every reader of that kind of file gets the input."""
    file = path.name.partition("~")[0]
    tried = [(target, use) for target in targets for use in target.uses if use.file == file]
    assert tried
    for target, use in tried:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use.call()  # compiles what is timed
            assert target.fault(use, path.read_bytes()) == ("", ""), use.name
