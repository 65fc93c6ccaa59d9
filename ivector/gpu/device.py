"""A device by its name, arrays on it, and products in full single precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ivector.base.errors import UsageError
from ivector.base.extras import told_extra

if TYPE_CHECKING:
    import torch


@told_extra()
def open_device(name: str) -> torch.device:
    """The device of a name: "cuda", "cuda:1", or "cpu".

    Raises
    ------
    UsageError
        An unknown name, or a GPU that is not there.
    MissingExtraError
        torch is not installed.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called {name!r}; take cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"`device` {name!r} is neither cpu nor cuda, which alone are supported")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise UsageError(
                f"`device` {name!r}: no CUDA device is usable here; take the CPU, or mend driver "
                "and torch"
            )
        if (device.index or 0) >= count:
            raise UsageError(
                f"`device` {name!r}: the last one here is cuda:{count - 1}; take one that there is"
            )
    return device


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products and convolutions without TF32, whose ten bits would show; also a decorator."""
    import torch

    cudnn = torch.backends.cudnn
    kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(**kept, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(former)


def moved(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device; on the CPU it shares its memory."""
    import torch

    # Torch warns of memory that must not be written.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
