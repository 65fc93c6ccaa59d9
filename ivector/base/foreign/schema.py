"""What the arrays and numbers of a model have to be: one table a model, checked when it is read.

A shape names its dimensions, and a name is of one size throughout a model: ``("C", "D")`` beside
``("C",)``. Dimensions in capitals have at least one element.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ivector.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np  # else where it is used: options are checked before it is installed

# Kinds of NumPy that each of ours takes.
KINDS = {"real": "iuf", "whole": "iu", "text": "U", "truth": "b", "plain": "biufU"}
_SYMMETRIC = 1e-6  # of the largest element: what the rounding of a product leaves


class Field(NamedTuple):
    """What an array has to be.

    Parameters
    ----------
    shape : tuple of str or int, or None
        Dimensions by name, or their size; None for any shape.
    kind : str
        One of `KINDS`.
    least, most : float
        Of its elements, which are finite.
    positive : bool
        Whether all elements are above 0.
    definite : bool
        Whether it holds symmetric positive definite matrices.
    optional : bool
        Whether a model may lack it.
    """

    shape: tuple[str | int, ...] | None
    kind: str = "real"
    least: float = -math.inf
    most: float = math.inf
    positive: bool = False
    definite: bool = False
    optional: bool = False


Schema = Mapping[str, Field]


def check_shapes(
    path: str | os.PathLike, found: Mapping[str, Any], schema: Schema
) -> dict[str, int]:
    """Sizes of the named dimensions of arrays, or of what their headers declare.

    Parameters
    ----------
    path : path-like
        Named in errors.
    found : mapping of str to object with shape and dtype
    schema : mapping of str to Field

    Raises
    ------
    DataError
        An array lacks, or is of another kind or shape than the schema's.
    """
    sizes: dict[str, int] = {}
    for name, field in schema.items():
        if name not in found:
            if field.optional:
                continue
            raise DataError(f"{path}: lacks {name!r}; is it cut, or another kind of file?")
        array = found[name]
        if array.dtype.kind not in KINDS[field.kind] or not array.dtype.itemsize:
            raise DataError(f"{path}: {name!r} has the type {array.dtype}, expected {field.kind}")
        if field.shape is not None:
            _match(path, name, array.shape, field.shape, sizes)
    return sizes


def _match(
    path: str | os.PathLike,
    name: str,
    shape: tuple[int, ...],
    expected: tuple[str | int, ...],
    sizes: dict[str, int],
) -> None:
    fits = len(shape) == len(expected)
    for size, n in zip(shape, expected) if fits else ():
        known = sizes.setdefault(n, size) if isinstance(n, str) else n
        fits &= size == known and (size > 0 or not str(n).isupper())
    if not fits:
        wanted = ", ".join(str(n) for n in expected)
        known_sizes = "".join(f", {n} = {sizes[n]}" for n in expected if n in sizes)  # type: ignore[index]
        raise DataError(
            f"{path}: {name!r} has the shape {shape}, expected ({wanted}){known_sizes}; "
            "none may be 0"
        )


def check_values(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], schema: Schema) -> None:
    """Refuse elements that no model has.

    Raises
    ------
    DataError
        NaN or infinity, an element out of its range, a matrix that is not positive definite.
    """

    for name, field in schema.items():
        if name not in arrays or arrays[name].dtype.kind not in "iuf":
            continue
        array = arrays[name]
        if not _is_finite(array):
            raise DataError(f"{path}: {name!r} holds NaN or infinity")
        if field.positive and not (array > 0).all():
            raise DataError(f"{path}: {name!r} holds a number that is not positive")
        limited = max(field.least, -field.most) > -math.inf
        if (
            limited
            and array.size
            and not (field.least <= array.min() and array.max() <= field.most)
        ):
            raise DataError(
                f"{path}: {name!r} holds a number that is not between {field.least:g} and "
                f"{field.most:g}"
            )
        if field.definite and not are_definite(array):
            raise DataError(f"{path}: {name!r} holds a matrix that is not positive definite")


def _is_finite(array: np.ndarray) -> bool:
    """Whether no element is NaN or infinity; of float16 by its bits, as its arithmetic is slow."""
    import numpy as np

    if array.dtype == np.float16 and array.flags.c_contiguous:
        return bool((array.view(np.uint16) & 0x7FFF).max(initial=0) < 0x7C00)
    return bool(np.isfinite(array).all())


def are_definite(matrices: np.ndarray) -> bool:
    """Whether matrices (..., n, n) are symmetric, but for rounding, and positive definite."""
    import numpy as np

    tolerance = _SYMMETRIC * np.abs(matrices).max(initial=0.0)
    if not (np.abs(matrices - np.swapaxes(matrices, -1, -2)) <= tolerance).all():
        return False
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True
