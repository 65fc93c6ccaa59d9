"""Tensors in ``.pt`` files, read without ever unpickling anything but a tensor."""

from __future__ import annotations

import os
import pickle

import numpy as np

from dnn.extra import told_extra
from ivector.base.errors import DataError


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

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise DataError(_refusal(path, str(error))) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"{path}: not a tensor that torch saved, or damaged; fetch it again"
        ) from error
    if not isinstance(loaded, torch.Tensor) or loaded.ndim != 2 or loaded.is_complex():
        what = tuple(loaded.shape) if isinstance(loaded, torch.Tensor) else type(loaded).__name__
        raise DataError(f"{path}: holds {what}, expected a tensor (n_frames, n_features)")
    return np.ascontiguousarray(loaded.detach().to(torch.float32).numpy())


@told_extra()
def write_tensor(path: str | os.PathLike, features: np.ndarray) -> None:
    """Write features (n_frames, n_features) as ``torch.save`` does, whole or not at all."""
    import torch

    from ivector.base.files import atomic_path

    array = np.ascontiguousarray(features, np.float32)
    with atomic_path(path) as temporary:
        torch.save(torch.from_numpy(array), temporary)


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
