"""Tensors in ``.pt`` files, read without ever unpickling anything but a tensor."""

from __future__ import annotations

import os
import pickle
import zipfile
from typing import Any

import numpy as np

from dnn.extra import told_extra
from ivector.base.errors import DataError
from ivector.base.files import atomic_write
from ivector.base.foreign.boundary import foreign, require_room


@told_extra()
def read_tensor(path: str | os.PathLike) -> np.ndarray:
    """Read features from a ``.pt`` file that ``torch.save`` wrote of one tensor.

    Returns
    -------
    ndarray (n_frames, n_features), float32

    Raises
    ------
    DataError
        The file is missing, cut or damaged, holds something else than one matrix, or is a pickle
        that would run code when opened, which is refused.
    """
    import torch

    with foreign(path, "a tensor that torch saved", "fetch it again"):
        require_unpacked(path)
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise DataError(_refusal(path, str(error))) from None
    if not isinstance(loaded, torch.Tensor) or loaded.ndim != 2 or loaded.is_complex():
        what = tuple(loaded.shape) if isinstance(loaded, torch.Tensor) else type(loaded).__name__
        raise DataError(f"{path}: holds {what}, expected a tensor (n_frames, n_features)")
    if loaded.layout != torch.strided or loaded.is_quantized or loaded.is_meta:
        raise DataError(f"{path}: holds a tensor that is sparse, quantised or without numbers")
    # A view may repeat few numbers without end.
    if loaded.numel() * loaded.element_size() > os.path.getsize(path):
        raise DataError(f"{path}: {tuple(loaded.shape)} are more numbers than the file holds")
    return np.ascontiguousarray(loaded.detach().to(torch.float32).numpy())


def require_unpacked(path: str | os.PathLike) -> None:
    """Refuse a file of torch whose members are packed, or too large for the memory.

    Raises
    ------
    DataError
        torch itself packs none, and would make room for whatever they say.
    """
    size = os.path.getsize(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(member.file_size for member in archive.infolist()))
        if size > os.path.getsize(path):
            raise DataError(f"{path}: refused: it is packed, which torch does not do")
    require_room(path, 2 * size, "its content")


def write_tensor(path: str | os.PathLike, features: np.ndarray) -> None:
    """Write features (n_frames, n_features) as ``torch.save`` does, whole or not at all."""
    import torch

    save(path, torch.from_numpy(np.ascontiguousarray(features, np.float32)))


def save(path: str | os.PathLike, thing: Any) -> None:
    """Write a tensor, or what holds tensors, as ``torch.save`` does, whole or not at all.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    import torch

    with atomic_write(path) as file:
        try:
            torch.save(thing, file)
        except RuntimeError as error:
            # torch ends its archive on a full disk, too, and complains of how that goes.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _refusal(path: str | os.PathLike, why: str) -> str:
    """What is said of a pickle that torch's restricted reader does not open."""
    named = [
        word.strip(" .,`'\"") for line in why.splitlines() for word in line.split("GLOBAL ")[1:]
    ]
    named = [word.split()[0] for word in named if word.split()]
    if named:
        return (
            f"{path}: refused: it names {named[0]}, and opening it could run a program; "
            "features are plain tensors, so get the file from a source that you trust"
        )
    return (
        f"{path}: refused: a pickle, or damaged, and not a tensor that torch saved; opening it "
        "could run a program, so get the file again from a source that you trust"
    )
