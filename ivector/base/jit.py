"""Numba's ``njit`` for all kernels: compiled in any environment, kept where that can be.

Numba keeps compiled kernels in ``NUMBA_CACHE_DIR``, beside their module, or in the user's cache
folder. By itself it raises, at import or at the first call, where none of these can be written,
the disk is full or a kept file is damaged.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache

_told = False


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As ``numba.njit``, but a kernel that cannot be kept is compiled anew by every process.

    Parameters
    ----------
    cache : bool
        Keep what is compiled, where that can be.
    **options
        Of ``numba.njit``.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        kernel = numba.njit(**options)(function)
        if cache and hasattr(kernel, "enable_caching"):  # none where NUMBA_DISABLE_JIT is set
            try:
                kernel._cache = _KernelCache(function)
            except (RuntimeError, OSError):
                _tell("Numba finds no place for them")
        return kernel

    return compiled


class _KernelCache(FunctionCache):
    """Numba's cache of a kernel, which is done without where it fails."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # of a damaged file anything may come: it is written anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            try:
                super().save_overload(sig, data)
            except OSError:
                raise
            except Exception:  # a damaged index, which is read first
                self.flush()
                super().save_overload(sig, data)
        except OSError as error:
            _tell(f"{self.cache_path}: {error.strerror or error}")


def _tell(why: str) -> None:
    """Warn, once and not in every process of a parallel run."""
    global _told
    if not _told and multiprocessing.parent_process() is None:
        warnings.warn(
            f"compiled kernels are not kept ({why}), and every process compiles them anew, which "
            "takes up to a minute: set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
    _told = True
