"""Kaldi's accumulators of EM: of mixtures, and of i-vector extractors.

Layouts of ``AccumDiagGmm::Write``, ``AccumFullGmm::Write`` and ``IvectorExtractorStats::Write``.
Numbers are written in double precision, which Kaldi reads as well as single.

Sums of an extractor are those of `ivector.total_variability.raw_sums`.

Dimension legend: C components, D feature dimension, R rank.
"""

from __future__ import annotations

import os

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import atomic_write
from ivector.base.foreign.boundary import foreign
from ivector.base.kaldi import KaldiReader, KaldiWriter, pack, unpack
from ivector.gmm.statistics import GMMStatistics
from ivector.total_variability import packed
from ivector.total_variability.e_step import Accumulators

_ALL = 7  # Kaldi's GmmUpdateFlags: means, variances and weights
_SECOND = {2: "<DIAGVARACCS>", 3: "<FULLVARACCS>"}


def read_gmm_accumulators(path: str | os.PathLike) -> GMMStatistics:
    """Read what ``gmm-global-acc-stats`` or ``fgmm-global-acc-stats`` wrote.

    The log-likelihood is not in the file, and 0.

    Raises
    ------
    DataError
        Missing, cut, something else, or accumulators that lack means or variances.
    """
    with foreign(path, "accumulators of a mixture of Kaldi"):
        reader = KaldiReader(path)
        reader.expect("<GMMACCS>")
        reader.expect("<VECSIZE>")
        dim = reader.count(1)
        reader.expect("<NUMCOMPONENTS>")
        n_components = reader.count(1)
        reader.expect("<FLAGS>")
        if reader.uint16() & _ALL != _ALL:
            raise DataError(f"{path}: lacks means, variances or weights; accumulate all")
        reader.expect("<OCCUPANCY>")
        zeroth = reader.vector().astype(np.float64)
        reader.expect("<MEANACCS>")
        first = reader.matrix().astype(np.float64)
        if reader.expect(*_SECOND.values()) == _SECOND[2]:
            second = reader.matrix().astype(np.float64)
        else:
            second = np.stack([unpack(reader.packed()) for _ in range(n_components)])
            second = second + _mean_squares(zeroth, first)
        reader.expect("</GMMACCS>")
        reader.end()
        shape = (n_components, dim)
        if zeroth.shape != shape[:1] or first.shape != shape or second.shape[:2] != shape:
            raise DataError(f"{path}: its sums are of different numbers of components or features")
        if not all(np.isfinite(sums).all() for sums in (zeroth, first, second)):
            raise DataError(f"{path}: holds NaN or infinity")
        return GMMStatistics(zeroth, first, second, 0.0, round(zeroth.sum()))


def write_gmm_accumulators(
    path: str | os.PathLike, statistics: GMMStatistics, binary: bool = True
) -> None:
    """Write sufficient statistics of a mixture as Kaldi does; text if not `binary`."""
    with atomic_write(path) as file:
        writer = KaldiWriter(file, binary, "f8")
        writer.token("<GMMACCS>")
        writer.token("<VECSIZE>")
        writer.int32(statistics.first.shape[1])
        writer.token("<NUMCOMPONENTS>")
        writer.int32(len(statistics.zeroth))
        writer.token("<FLAGS>")
        writer.uint16(_ALL)
        writer.token("<OCCUPANCY>")
        writer.vector(statistics.zeroth)
        writer.token("<MEANACCS>")
        writer.matrix(statistics.first)
        writer.token(_SECOND[statistics.second.ndim])
        if statistics.second.ndim == 2:
            writer.matrix(statistics.second)
        else:
            centred = statistics.second - _mean_squares(statistics.zeroth, statistics.first)
            for row in pack(centred):
                writer.packed(row)
        writer.token("</GMMACCS>")
        writer.newline()


def _mean_squares(zeroth: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Σ γ m m' (C, D, D) of the mean m, which Kaldi's files of full mixtures leave out."""
    scaled = first / np.where(zeroth > 0, zeroth, 1.0)[:, None]
    return scaled[:, :, None] * first[:, None, :]


def read_extractor_accumulators(path: str | os.PathLike) -> Accumulators:
    """Read what ``ivector-extractor-acc-stats`` wrote: raw sums.

    As evidence there is what Kaldi calls the auxiliary function.

    Raises
    ------
    DataError
        Missing, cut, something else, or of parts that do not belong together.
    """
    with foreign(path, "accumulators of an i-vector extractor of Kaldi"):
        reader = KaldiReader(path)
        total = _read_extractor_body(reader)
        reader.expect("</IvectorExtractorStats>")
        reader.end()
        return total


def _read_extractor_body(reader: KaldiReader) -> Accumulators:
    reader.expect("<IvectorExtractorStats>")
    reader.expect("<TotAuxf>")
    value = reader.real()
    reader.expect("<gamma>")
    zeroth = reader.vector()
    reader.expect("<Y>")
    cross = [reader.matrix() for _ in range(reader.count())]
    reader.expect("<R>")
    moment = reader.matrix()
    for token in ("<Q>", "<G>"):
        reader.expect(token)
        if reader.matrix().size:
            raise DataError(
                f"{reader.name}: is of weights that depend on the i-vector, which there are not "
                "here; make the extractor with --use-weights=false"
            )
    reader.expect("<S>")
    second = [unpack(reader.packed()) for _ in range(reader.count())]
    reader.expect("<NumIvectors>")
    n_utterances = reader.real()
    reader.expect("<IvectorSum>")
    latent_sum = reader.vector()
    reader.expect("<IvectorScatter>")
    scatter = reader.packed()
    C, (D, R) = len(zeroth), cross[0].shape if cross else (0, 0)
    size = packed.size(R)
    if (
        [moment.shape, latent_sum.shape, scatter.shape] != [(C, size), (R,), (size,)]
        or [one.shape for one in cross] != [(D, R)] * C
        or [one.shape for one in second] not in ([], [(D, D)] * C)
        or R < 2
    ):
        raise DataError(f"{reader.name}: its sums do not belong to one extractor; make it again")
    total = Accumulators.zeros(C, D, R)
    total.n_utterances = round(n_utterances)
    total.zeroth += zeroth
    total.cross += np.stack(cross)
    total.moment += _rectangular(moment, R)
    total.latent_sum += latent_sum
    total.latent_moment += _rectangular(scatter[None], R)[0]
    total.evidence = value
    total.second = np.stack(second).astype(np.float64) if second else None
    return total


def write_extractor_accumulators(
    path: str | os.PathLike, raw: Accumulators, binary: bool = True
) -> None:
    """Write raw sums as Kaldi does; text if not `binary`."""
    rank = len(raw.latent_sum)
    with atomic_write(path) as file:
        writer = KaldiWriter(file, binary, "f8")
        writer.token("<IvectorExtractorStats>")
        writer.token("<TotAuxf>")
        writer.real(raw.evidence)
        writer.token("<gamma>")
        writer.vector(raw.zeroth)
        writer.token("<Y>")
        writer.int32(len(raw.cross))
        for matrix in raw.cross:
            writer.matrix(matrix)
        writer.token("<R>")
        writer.matrix(_triangles(raw.moment, rank))
        for token in ("<Q>", "<G>"):
            writer.token(token)
            writer.matrix(np.empty((0, 0)))
        writer.token("<S>")
        writer.int32(0 if raw.second is None else len(raw.second))
        for row in () if raw.second is None else pack(raw.second):
            writer.packed(row)
        writer.token("<NumIvectors>")
        writer.real(raw.n_utterances)
        writer.token("<IvectorSum>")
        writer.vector(raw.latent_sum)
        writer.token("<IvectorScatter>")
        writer.packed(_triangles(raw.latent_moment[None], rank)[0])
        writer.token("</IvectorExtractorStats>")


def _rectangular(rows: np.ndarray, rank: int) -> np.ndarray:
    """Lower triangles (C, P) in rectangular full packed form."""
    at = packed.positions(rank)
    return unpack(rows.astype(np.float64))[:, at[0], at[1]]


def _triangles(rows: np.ndarray, rank: int) -> np.ndarray:
    """The inverse of `_rectangular`."""
    return pack(np.stack([packed.to_full(row, rank) for row in rows]))
