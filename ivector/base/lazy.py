"""Import a package's public names on first use (PEP 562); one table, its stub, names them all."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for a package's ``__init__``.

    The public names are those of the stub ``__init__.pyi`` beside it, which type checkers read too:
    a line ``from MODULE import NAME as NAME`` for each.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.

    Raises
    ------
    ImportError
        The stub cannot be read.
    """
    names = names_of_stub(_read_stub(package))

    def __getattr__(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(names[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__, sorted(names)


def names_of_stub(text: str) -> dict[str, str]:
    """Public name to the module that defines it, of the text of a stub."""
    lines = [line.split() for line in text.splitlines()]
    return {words[-1]: words[1] for words in lines if words[:1] == ["from"]}


def _read_stub(package: str) -> str:
    module = sys.modules[package]
    stub = os.path.join(os.path.dirname(module.__file__ or ""), "__init__.pyi")
    try:
        # By the loader, as the package may lie in a .zip.
        return module.__loader__.get_data(stub).decode()  # type: ignore[union-attr]
    except OSError as error:
        raise ImportError(
            f"{stub} names what {package} has, and cannot be read ({error.strerror or error}): "
            "install ivector-plda again"
        ) from None
