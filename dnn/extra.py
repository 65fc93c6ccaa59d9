"""What is said where torch or safetensors, the extra ``dnn``, is not installed.

Importing `dnn`, parsing its commands' options and reading their help take neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ivector.base import lazy
from ivector.base.errors import UserError

PACKAGES = ("torch", "safetensors")


class MissingExtraError(UserError, ImportError):
    """A package of the extra ``dnn`` is not installed."""


@contextlib.contextmanager
def told_extra() -> Iterator[None]:
    """Say, in one line, how to get a package of the extra that the block does not find.

    Also a decorator.

    Raises
    ------
    MissingExtraError
        In the place of the package's `ModuleNotFoundError`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in PACKAGES:
            raise
        raise MissingExtraError(
            f"networks need {name}, which is not installed: pip install 'ivector-plda[dnn]'"
        ) from None


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """As `ivector.base.lazy.attach`, for names that need the extra."""
    find, list_names, public = lazy.attach(package)
    return told_extra()(find), list_names, public
