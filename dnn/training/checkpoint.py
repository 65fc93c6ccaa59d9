"""Checkpoints: all that a run needs to go on, in one file that is whole or absent.

A checkpoint is a dictionary of tensors, numbers, texts and lists, written by torch under a
temporary name and renamed, and read back by torch's unpickler for exactly these types, which runs
nothing that a file may hold. Batches, learning rates, margins and dropout are functions of the
seed and the step, so that these two numbers are the state of sampler, scheduler and generators.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnn.extra import told_extra
from dnn.formats.tensors import require_unpacked, save
from ivector.base.errors import DataError
from ivector.base.foreign.boundary import check_types, foreign

FORMAT = 1
LAST, BEST = "last.pt", "best.pt"


def save_checkpoint(path: str | os.PathLike, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a process killed meanwhile leaves the former one.

    Parameters
    ----------
    path : path-like
    state : mapping
        Tensors, numbers, booleans, texts and None, in dictionaries and lists.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    save(path, {"format": FORMAT, **state})


@told_extra()
def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Raises
    ------
    DataError
        It is missing, cut, of a newer format, or holds anything but tensors and plain values.
    """
    import torch

    with foreign(path, "a checkpoint", "remove it to start anew"):
        require_unpacked(path)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise DataError(
                f"{path}: refused: it holds more than tensors and plain values, or is damaged; "
                "take a checkpoint that this toolkit wrote"
            ) from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: not a checkpoint of this toolkit")
    check_types(path, state, {"format": int}, "a checkpoint of this toolkit")
    if state["format"] > FORMAT:
        raise DataError(f"{path}: format {state['format']} is newer than this version reads")
    return state


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove what writers that were killed left under temporary names."""
    for path in Path(folder).glob(".*.tmp[0-9]*.*"):
        path.unlink(missing_ok=True)
