"""Kaldi's i-vector extractor (``final.ie``), read and written.

Layout of ``IvectorExtractor::Write``, all numbers double: ``<w>`` (matrix, empty unless weights
depend on the i-vector), ``<w_vec>``, ``<M>`` n matrices (D, R), ``<SigmaInv>`` n packed symmetric
matrices, ``<IvectorOffset>``.
"""

from __future__ import annotations

import os

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write
from ivector.base.foreign.boundary import foreign
from ivector.base.foreign.schema import are_definite
from ivector.base.kaldi import KaldiReader, KaldiWriter, pack, unpack
from ivector.total_variability.model import TotalVariability
from ivector.total_variability.subspace import Subspace


def read_extractor(path: str | os.PathLike) -> TotalVariability:
    """Read a ``final.ie``, binary or text, as a fitted extractor.

    Raises
    ------
    DataError
        Missing, cut, not an extractor, or one with i-vector-dependent weights.
    """
    with foreign(path, "an extractor of Kaldi"):
        reader = KaldiReader(path)
        reader.expect("<IvectorExtractor>")
        reader.expect("<w>")
        if reader.matrix().size:
            raise DataError(
                f"{reader.name}: its weights depend on the i-vector, which this toolkit does not "
                "support; train it with Kaldi's --use-weights=false"
            )
        reader.expect("<w_vec>")
        weights = reader.vector().astype(np.float64)
        reader.expect("<M>")
        n_components = reader.count(1)
        projection = [reader.matrix().astype(np.float64) for _ in range(n_components)]
        reader.expect("<SigmaInv>")
        precision = [unpack(reader.packed().astype(np.float64)) for _ in range(n_components)]
        reader.expect("<IvectorOffset>")
        offset = reader.real()
        reader.expect("</IvectorExtractor>")
        reader.end()
        _check(reader, weights, projection, precision, offset)
        model = Subspace(weights, np.stack(projection), np.stack(precision), offset)
        return TotalVariability.from_subspace(model)


def write_extractor(
    path: str | os.PathLike, extractor: TotalVariability, binary: bool = True
) -> None:
    """Write a fitted extractor as ``final.ie``; what was read is written back bit for bit.

    Raises
    ------
    UsageError
        The extractor is of the classical form, which Kaldi's has no place for.
    """
    if not extractor.prior_offset_:
        raise UsageError(
            "Kaldi's extractor keeps the mean in column 0 and has no place for the classical "
            "form; train with parametrisation='kaldi', or keep the model as .npz"
        )
    with atomic_write(path, "wb") as file:
        _write(KaldiWriter(file, binary, "f8"), extractor)


def _write(writer: KaldiWriter, extractor: TotalVariability) -> None:
    writer.token("<IvectorExtractor>")
    writer.token("<w>")
    writer.matrix(np.empty((0, 0)))
    writer.token("<w_vec>")
    writer.vector(extractor.weights_)
    writer.token("<M>")
    writer.int32(len(extractor.projections_))
    for matrix in extractor.projections_:
        writer.matrix(matrix)
    writer.token("<SigmaInv>")
    for matrix in extractor.precisions_:
        writer.packed(pack(matrix))
    writer.token("<IvectorOffset>")
    writer.real(extractor.prior_offset_)
    writer.token("</IvectorExtractor>")


def _check(
    reader: KaldiReader,
    weights: np.ndarray,
    projection: list[np.ndarray],
    precision: list[np.ndarray],
    offset: float,
) -> None:
    shapes = {matrix.shape for matrix in projection}
    if not projection or len(shapes) != 1 or len(weights) != len(projection):
        raise reader.fail(f"has {len(weights)} weights and {len(projection)} projections, unequal")
    n_features, rank = projection[0].shape
    if not n_features or rank < 2:
        raise reader.fail(f"has projections of {n_features} x {rank}, which is no model")
    if any(matrix.shape != (n_features, n_features) for matrix in precision):
        raise reader.fail("has covariances of another dimension than its projections")
    if not (np.isfinite(offset) and offset > 0):
        raise reader.fail(f"has a prior offset of {offset}, which must be positive")
    if not all(np.isfinite(matrix).all() for matrix in [*projection, *precision, weights]):
        raise reader.fail("contains NaN or infinity")
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise reader.fail("has a negative weight, or none that is positive")
    if not are_definite(np.stack(precision)):
        raise reader.fail("has a covariance that is not positive definite")
