"""A speaker network in an ONNX file: what it takes and gives, looked at before it is run.

An ONNX file may name others that hold its weights. They are looked at first: a file that a
stranger wrote shall not have others read that lie elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dnn.embedders.front_ends import BINS, RATE, EmbedderFrontEnd
from ivector.base.errors import DataError, NotFiniteError, UserError
from ivector.base.extras import told_extra
from ivector.base.foreign.boundary import foreign, read_bytes
from ivector.base.foreign.names import shown
from ivector.base.foreign.opening import inside

WHAT = "a network in ONNX"
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_PROBE_S = 3
_FATAL = 4  # of onnxruntime's levels: it else prints what is raised as well


class OnnxEmbedder:
    """A network that takes what a front end gives of one recording, and gives one vector.

    Parameters
    ----------
    path : path-like
        The ONNX file. It takes (batch, frames, bins), (batch, bins, frames) or, of samples,
        (batch, samples) or (batch, 1, samples); batch and time must be free.
    front_end : EmbedderFrontEnd

    Attributes
    ----------
    n_bins : int
        Mel bins that it takes.

    Raises
    ------
    MissingExtraError
        A package of the extra ``onnx`` is not installed.
    DataError
        No network in ONNX, external data outside of its folder, several inputs or outputs, or an
        input that the front end does not fit.
    """

    @told_extra()
    def __init__(self, path: str | os.PathLike, front_end: EmbedderFrontEnd):
        import onnxruntime

        self.path, self.front_end = Path(path), front_end
        files_of(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise DataError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({_said(error)}); "
                "export it again, or install a newer onnxruntime"
            ) from error
        self._input = self._only("input", self._session.get_inputs())
        output = self._only("output", self._session.get_outputs())
        for verb, one in (("takes", self._input), ("gives", output)):
            if one.type not in TYPES:
                raise self._misfit(f"{verb} {one.type}, not floating-point numbers")
        self._bins_first = False
        self.n_bins = BINS
        self._check_shape(self._input.shape)

    def embed(self, heard: np.ndarray) -> np.ndarray:
        """Embedding (D,) float32 of what the front end gave of a recording.

        Raises
        ------
        DataError
            Too short for the network, or an embedding that is no vector or not finite.
        """
        heard = heard.T if self._bins_first else heard
        batch = heard.astype(TYPES[self._input.type], copy=False)
        batch = batch.reshape([1] * (len(self._input.shape) - heard.ndim) + list(heard.shape))
        try:
            (found,) = self._session.run(None, {self._input.name: batch})
        except Exception as error:
            size = f"{batch.shape[-1 if self._takes_last else 1]} {self._unit}"
            raise DataError(f"the network cannot take its {size} ({_said(error)})") from error
        vector = np.asarray(found)
        if vector.ndim < 1 or max(vector.shape) != vector.size:
            raise DataError(
                f"the network gives {vector.shape} where one vector is expected; is it one of "
                "whole recordings?"
            )
        vector = vector.astype(np.float32).ravel()
        if not np.isfinite(vector).all():
            raise NotFiniteError("its embedding is not finite")
        return vector

    def probe(self, rate: int = RATE) -> int:
        """D, by which a network that no recording suits is refused before any is read.

        Raises
        ------
        DataError, UsageError
            It cannot take noise of some seconds.
        """
        noise = np.random.default_rng(0).normal(0, 1000, _PROBE_S * rate).astype(np.float32)
        try:
            return len(self.embed(self.front_end.compute(noise, rate, self.n_bins)))
        except UserError as error:
            raise type(error)(f"{self.path}: tried on noise of {_PROBE_S} s: {error}") from error

    @property
    def _unit(self) -> str:
        return "samples" if self.front_end.takes_samples else "frames"

    @property
    def _takes_last(self) -> bool:
        """Whether time is the last axis of the input."""
        return self._bins_first or self.front_end.takes_samples

    def _only(self, kind: str, found: list[Any]) -> Any:
        if len(found) != 1:
            names = ", ".join(shown(one.name) for one in found) or "none"
            what = "features or samples" if kind == "input" else "the embedding"
            raise self._misfit(f"has {len(found)} {kind}s ({names}) where one is expected: {what}")
        return found[0]

    def _check_shape(self, shape: list[Any]) -> None:
        """Refuse an input that the front end does not fit; free axes are names or None."""
        told = f"takes ({', '.join(shown(axis) for axis in shape)})"
        fixed = [axis if isinstance(axis, int) else None for axis in shape]
        if self.front_end.takes_samples:
            if len(shape) != 2 and fixed[1:] not in ([1, None], [None, None]):
                raise self._misfit(f"{told}, not samples (batch, samples); choose a front end")
        elif len(shape) != 3:
            raise self._misfit(f"{told}, not features (batch, frames, bins); is it of waveforms?")
        else:
            self._bins_first = fixed[1] is not None and fixed[2] is None
            self.n_bins = fixed[1 if self._bins_first else 2] or BINS
        if fixed[0] not in (1, None):
            raise self._misfit(f"{told}, batches of {fixed[0]} alone; export it with a free axis")
        if (time := fixed[-1 if self._takes_last else 1]) is not None:
            raise self._misfit(
                f"{told}, recordings of {time} {self._unit} alone; export it with a free axis "
                "(torch's dynamic_axes)"
            )

    def _misfit(self, why: str) -> DataError:
        return DataError(f"{self.path}: the network {why}")


@told_extra()
def files_of(path: str | os.PathLike) -> list[Path]:
    """An ONNX file, and the files that it keeps its weights in.

    Raises
    ------
    MissingExtraError
        The package onnx, of the extra ``onnx``, is not installed.
    DataError
        It is no network in ONNX; a file that it names is missing, or outside of its folder.
    """
    import onnx

    path = Path(path)
    with foreign(path, WHAT, "give the .onnx file that a network was exported to"):
        model = onnx.ModelProto.FromString(read_bytes(path, WHAT))
        if not model.graph.node:
            raise DataError("holds no network; give the .onnx file that one was exported to")
    # A link, as caches have them, may lead to a file beside the one that the model is a link to.
    homes = {path.parent.resolve(), path.resolve().parent}
    files = [path]
    for name in sorted(set(_external(model))):
        file = inside(path.parent, name, path)
        if not any(file.resolve().is_relative_to(home) for home in homes):
            raise DataError(f"{path}: names {shown(name)!r}, which leads out of its folder")
        if not file.is_file():
            raise DataError(f"{path}: its weights are in {file}, which is not there; copy both")
        files.append(file)
    return files


def _external(message: Any) -> Iterator[str]:
    """Names of files that tensors anywhere in a message are kept in."""
    import onnx
    from google.protobuf.message import Message

    for _, value in message.ListFields():
        for one in [value] if isinstance(value, Message) else value if _is_list(value) else ():
            if isinstance(one, onnx.TensorProto):
                yield from (entry.value for entry in one.external_data if entry.key == "location")
            elif isinstance(one, Message):
                yield from _external(one)


def _is_list(value: Any) -> bool:
    return not isinstance(value, (str, bytes, int, float))


def _said(error: Exception) -> str:
    """What onnxruntime says, in one short line."""
    return shown(" ".join(str(error).rpartition("Status Message: ")[2].split()), most=160)
