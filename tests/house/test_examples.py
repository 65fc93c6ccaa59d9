"""Every public name has an example in its docstring, and all examples run."""

import doctest
import importlib
import pkgutil
import typing

import matplotlib
import pytest

matplotlib.use("Agg")
PACKAGES = ("ivector", "plda", "dnn", "fusion")


def _modules():
    for package in PACKAGES:
        found = importlib.import_module(package)
        yield package
        for module in pkgutil.walk_packages(found.__path__, package + "."):
            if not module.name.endswith("__main__"):
                yield module.name


def _public():
    """(where it is public, name) of what can be called; constants and aliases have no docstring."""
    for name in _modules():
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            for public in getattr(module, "__all__", ()):
                thing = getattr(module, public)
                if callable(thing) and typing.get_origin(thing) is None:
                    yield name, public


@pytest.mark.parametrize("module, name", _public())
def test_a_public_name_has_an_example_that_runs(module, name):
    thing = getattr(importlib.import_module(module), name)
    text = thing.__doc__ or ""
    assert ">>>" in text, f"{thing.__module__}.{name} has no example"
    assert "+SKIP" not in text, f"{thing.__module__}.{name}: an example that is skipped"


def _documented():
    """All modules, and those of commands that have a public name."""
    things = (getattr(importlib.import_module(module), name) for module, name in _public())
    return sorted({*_modules(), *(thing.__module__ for thing in things)})


@pytest.mark.parametrize("name", _documented())
def test_examples_run(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    # What an example writes goes to a folder of its own.
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testmod(module, optionflags=flags)
    assert not failed, f"{failed} of {tried} examples of {name} failed"
