"""Trained networks as ONNX files, which run without torch and without this project.

The file takes ``features`` (batch, frames, n_features) float32, processed as in the network's
training, all utterances of a batch whole and of one length, and gives ``embedding`` (batch,
embedding_dim), that of `dnn.embedding.extraction.extract` to rounding. Batch and frames are free.
"""

from __future__ import annotations

import inspect
import os
import warnings
from typing import TYPE_CHECKING, Any

from dnn.extra import told_extra
from ivector.base.files import atomic_path

if TYPE_CHECKING:
    from dnn.models.base import SpeakerNetwork

INPUT, OUTPUT = "features", "embedding"
OPSET = 17  # read by onnxruntime from 1.13 on
TRACED_FRAMES = 200


@told_extra()
def export_onnx(path: str | os.PathLike, model: SpeakerNetwork) -> None:
    """Write a network as an ONNX file.

    Parameters
    ----------
    path : path-like
    model : SpeakerNetwork
        Stays as it is; a copy in evaluation mode with folded norms is written.

    Raises
    ------
    MissingExtraError
        The package onnx, of the extra ``onnx``, is not installed.
    DataError
        The file cannot be written.
    """
    import onnx  # noqa: F401  # which torch takes, and does not always tell
    import torch

    from dnn.models.folding import fold

    example = torch.zeros(1, max(TRACED_FRAMES, model.min_frames), model.n_features)
    options: dict[str, Any] = {
        "opset_version": OPSET,
        "input_names": [INPUT],
        "output_names": [OUTPUT],
        "dynamic_axes": {INPUT: {0: "batch", 1: "frames"}, OUTPUT: {0: "batch"}},
    }
    # The newer exporter needs another package; torch before 2.5 does not know the word.
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks of shapes, which hold for all that are free
        torch.onnx.export(fold(model).cpu(), (example,), os.fspath(temporary), **options)
