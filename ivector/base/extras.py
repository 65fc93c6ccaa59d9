"""What is said where a package is not installed: the extra that brings it, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ivector.base.errors import UserError

# Modules of other projects to the extra of ours that brings them.
EXTRAS = {
    "torch": "dnn",
    "safetensors": "dnn",
    "h5py": "hdf5",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "dask": "scale",
    "distributed": "scale",
    "dask_jobqueue": "slurm",
    "kfp": "pipeline",
}
# What needs an extra.
_NEEDS = {
    "dnn": "networks and GPUs need",
    "hdf5": "HDF5 files need",
    "onnx": "ONNX files need",
    "scale": "the backend dask needs",
    "slurm": "a cluster on SLURM needs",
    "pipeline": "a Kubeflow pipeline needs",
}
OURS = ("ivector", "plda", "dnn", "fusion", "recipes")


class MissingExtraError(UserError, ImportError):
    """A package of an extra is not installed."""


@contextlib.contextmanager
def told_extra() -> Iterator[None]:
    """Say, in one line, how to get a package of an extra that the block does not find.

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
        if name not in EXTRAS:
            raise
        extra = EXTRAS[name]
        raise MissingExtraError(
            f"{_NEEDS[extra]} {name}, which is not installed: pip install 'ivector-plda[{extra}]'"
        ) from None


def describe_missing(error: ModuleNotFoundError) -> str:
    """What to do about a package that is not installed, in one line; empty if it is our own."""
    name = (error.name or "").partition(".")[0]
    if not name or name in OURS:
        return ""
    return f"{name} is not installed; pip install ivector-plda installs all that is needed"
