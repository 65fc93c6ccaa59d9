"""What is said where torch or safetensors, the extra ``dnn``, is not installed.

Importing `dnn`, parsing its commands' options and reading their help take neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ivector.base import lazy
from ivector.base.extras import MissingExtraError, told_extra

__all__ = ["MissingExtraError", "attach", "told_extra"]


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """As `ivector.base.lazy.attach`, for names that need the extra."""
    find, list_names, public = lazy.attach(package)
    return told_extra()(find), list_names, public
