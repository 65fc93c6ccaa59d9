"""The E-step of total variability on a device, and i-vectors.

As `ivector.total_variability.e_step`: precisions of a batch of utterances are one product of packed
matrices, and so are the sums of their moments; only that here the precisions are unpacked for a
batched Cholesky factorisation. Float32 products, sums of `FLUSH` utterances at most, then float64.

Dimensions
----------
U utterances of a batch, C components, D feature dimension, R rank, P = R (R + 1) / 2 packed
numbers of a symmetric R × R matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ivector.base.extras import told_extra
from ivector.gpu.device import full_precision, moved, open_device
from ivector.statistics.batch import BaumWelchStatistics, same_centre
from ivector.statistics.sparse import SparseStatistics
from ivector.total_variability import packed
from ivector.total_variability.e_step import Accumulators, check_gained
from ivector.total_variability.shards import Pool, Shard, blocks
from ivector.total_variability.subspace import Derived

with told_extra():
    import torch

BATCH_BYTES = 2 << 30  # of what a batch of utterances fills
FLUSH = 4096
SMALLEST = 64  # order of triangular matrices that are inverted one column after the other

Statistics = BaumWelchStatistics | SparseStatistics

Batch = tuple[torch.Tensor, torch.Tensor]  # Zeroth (U, C), first order about the means (U, C D).


class DeviceExtractor:
    """A total-variability model on a device.

    Parameters
    ----------
    device : str
        As `open_device` takes it.
    derived : Derived
    """

    def __init__(self, device: str, derived: Derived):
        self.device = open_device(device)
        self.rank = derived.linear.shape[1]
        self.centre = derived.means
        self.linear = moved(derived.linear, self.device)
        self.quadratic = moved(derived.quadratic, self.device)
        R = self.rank
        rows, cols = packed.positions(R)
        place = np.empty((R, R), np.int64)
        place[rows, cols] = place[cols, rows] = np.arange(len(rows))
        self.place = moved(place.ravel(), self.device)  # of an element among the packed ones
        self.lower = moved(rows * R + cols, self.device)  # of a packed one among the elements

    @property
    def batch_size(self) -> int:
        """Utterances of a batch; of the model alone, so that sums have one order."""
        (C, D), R = self.centre.shape, self.rank
        return int(np.clip(BATCH_BYTES // (4 * (4 * R * R + 5 * C * D)), 1, FLUSH))

    def pieces(self, stats: Statistics) -> Iterator[Batch]:
        """Zeroth (U, C) and first (U, C, D) order statistics on the device, float32, in batches."""
        if isinstance(stats, SparseStatistics):
            zeroth, first = self._unpacked(stats)
            yield from zip(zeroth.split(self.batch_size), first.split(self.batch_size))
            return
        for start in range(0, len(stats), self.batch_size):
            part = stats[start : start + self.batch_size]
            both = (np.ascontiguousarray(array) for array in (part.zeroth, part.first))
            zeroth, first = (moved(array, self.device).float() for array in both)
            yield zeroth, first

    def _unpacked(self, stats: SparseStatistics) -> Batch:
        row, zeroth, offset, unit = (
            moved(a, self.device) for a in (stats.rows, stats.zeroth, stats.offset, stats.unit)
        )
        at = row, moved(stats.component.astype(np.int64), self.device)
        counts = zeroth.new_zeros((len(stats), stats.n_components))
        sums = zeroth.new_zeros((*counts.shape, len(unit)))
        counts[at] = zeroth
        sums[at] = offset.float() * unit * zeroth[:, None]
        return counts, sums

    def about_means(
        self, zeroth: torch.Tensor, first: torch.Tensor, centre: np.ndarray | None
    ) -> torch.Tensor:
        """First order (U, C D) about the model's means; the difference is taken in float64."""
        shift = self.centre if centre is None else self.centre - centre
        if shift.any():
            by = moved(shift, self.device)
            first = (first.double() - zeroth.double()[:, :, None] * by).float()
        return first.flatten(1)

    def posterior(
        self, zeroth: torch.Tensor, first: torch.Tensor, first_row: int
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Cholesky factors of the precisions (U, R, R), means (U, R) and what they gain (U,).

        Raises
        ------
        DataError
            A precision is not positive definite.
        """
        precisions = (zeroth @ self.quadratic)[:, self.place].view(-1, self.rank, self.rank)
        precisions.diagonal(dim1=1, dim2=2).add_(1.0)
        linear = first @ self.linear
        factors, failed = torch.linalg.cholesky_ex(precisions)
        means = torch.cholesky_solve(linear[:, :, None], factors)[:, :, 0]
        log_det = 2.0 * factors.diagonal(dim1=1, dim2=2).double().log().sum(1)
        gained = 0.5 * ((linear.double() * means.double()).sum(1) - log_det)
        gained = torch.where(failed > 0, torch.nan, gained).cpu().numpy()
        check_gained(gained, first_row)
        return factors, means, gained

    def covariances(self, factors: torch.Tensor) -> torch.Tensor:
        """Inverses (U, R, R) of what was factored."""
        inverse = _inverse(factors)
        return torch.bmm(inverse.mT, inverse)

    @full_precision()
    def extract(
        self, stats: Statistics, return_cov: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """I-vectors (U, R) and, if asked for, their covariances (U, R, R)."""
        ivectors = np.empty((len(stats), self.rank), np.float32)
        covariances = np.empty((*ivectors.shape, self.rank), np.float32) if return_cov else None
        start = 0
        for zeroth, first in self.pieces(stats):
            first = self.about_means(zeroth, first, stats.centre)
            factors, means, _ = self.posterior(zeroth, first, start)
            rows = slice(start, start + len(means))
            ivectors[rows] = means.cpu().numpy()
            if covariances is not None:
                covariances[rows] = self.covariances(factors).cpu().numpy()
            start = rows.stop
        return ivectors, covariances


def _inverse(lower: torch.Tensor) -> torch.Tensor:
    """Inverses of lower triangular matrices (U, n, n), by halves: all but the smallest products."""
    n = lower.shape[1]
    if n <= SMALLEST:
        identity = torch.eye(n, device=lower.device).expand_as(lower)
        return torch.linalg.solve_triangular(lower, identity, upper=False)
    one, two = slice(0, n // 2), slice(n // 2, n)
    inverse = torch.zeros_like(lower)
    inverse[:, one, one] = _inverse(lower[:, one, one])
    inverse[:, two, two] = _inverse(lower[:, two, two])
    below = lower[:, two, one] @ inverse[:, one, one]
    inverse[:, two, one] = -(inverse[:, two, two] @ below)
    return inverse


def blocks_of(shard: Shard, shape: tuple[int, ...]) -> Iterator[Statistics]:
    """Blocks of a shard as `blocks` checks them, sparse where they are stored so."""
    stored = getattr(shard, "sparse", None)
    for part in (shard,) if stored is None else stored():
        if isinstance(part, SparseStatistics) and part.shape == shape:
            yield part
        else:
            yield from blocks(part.dense() if isinstance(part, SparseStatistics) else part, shape)


@full_precision()
def e_step(extractor: DeviceExtractor, blocks: Iterable[Statistics]) -> Accumulators:
    """The sums that an M-step needs of all blocks."""
    total = _Totals(extractor)
    pool = _DevicePool(extractor)
    seen = 0
    for zeroth, first in _batches(extractor, blocks, pool):
        total.add(zeroth, first, seen)
        seen += len(zeroth)
    sums = total.accumulators()
    counts = pool.close()
    sums.n_utterances = seen
    if counts is not None:
        about = counts.about(extractor.centre)
        sums.zeroth, sums.first, sums.second = about.zeroth[0], about.first[0], about.second
    return sums


def _batches(
    extractor: DeviceExtractor, blocks: Iterable[Statistics], pool: _DevicePool
) -> Iterator[Batch]:
    """Blocks cut and joined to batches of one size, but for the last."""
    size = extractor.batch_size
    waiting: list[Batch] = []
    for stats in blocks:
        for zeroth, first in extractor.pieces(stats):
            pool.add(zeroth, first, stats.centre)
            waiting.append((zeroth, extractor.about_means(zeroth, first, stats.centre)))
            if sum(len(one) for one, _ in waiting) >= size:
                both = torch.cat([one for one, _ in waiting]), torch.cat([x for _, x in waiting])
                yield both[0][:size], both[1][:size]
                rest = both[0][size:].clone(), both[1][size:].clone()
                waiting = [rest] if len(rest[0]) else []
        pool.add_second(stats.second)
    if waiting:
        yield torch.cat([one for one, _ in waiting]), torch.cat([x for _, x in waiting])


class _Totals:
    """`Accumulators` on the device, but for what has nothing to do with the latent variable."""

    def __init__(self, extractor: DeviceExtractor):
        self.extractor = extractor
        (C, D), R = extractor.centre.shape, extractor.rank
        # moment, cross, latent; by float32 products, and in float64 once FLUSH were added.
        shapes = ((C, packed.size(R)), (C * D, R), (C, R))
        at: dict[str, Any] = {"device": extractor.device}
        self.partial = [torch.zeros(shape, **at) for shape in shapes]
        self.sums = [torch.zeros(shape, dtype=torch.float64, **at) for shape in shapes]
        self.latent_sum = torch.zeros(R, dtype=torch.float64, **at)
        self.latent_moment = torch.zeros(packed.size(R), dtype=torch.float64, **at)
        self.evidence, self.pending = 0.0, 0

    def add(self, zeroth: torch.Tensor, first: torch.Tensor, first_row: int) -> None:
        """Add a batch."""
        if self.pending + len(zeroth) > FLUSH:
            self._flush()
        self.pending += len(zeroth)
        extractor = self.extractor
        factors, means, gained = extractor.posterior(zeroth, first, first_row)
        second = extractor.covariances(factors)
        second.baddbmm_(means[:, :, None], means[:, None])  # E[ww'] = L⁻¹ + w̄w̄'.
        moments = second.flatten(1)[:, extractor.lower]
        for partial, left, right in zip(
            self.partial, (zeroth, first, zeroth), (moments, means, means)
        ):
            partial.addmm_(left.T, right)
        self.latent_sum += means.sum(0, dtype=torch.float64)
        self.latent_moment += moments.sum(0, dtype=torch.float64)
        self.evidence += float(gained.sum())

    def _flush(self) -> None:
        for total, partial in zip(self.sums, self.partial):
            total += partial
            partial.zero_()
        self.pending = 0

    def accumulators(self) -> Accumulators:
        """The sums, on the CPU."""
        self._flush()
        (C, D), R = self.extractor.centre.shape, self.extractor.rank
        moment, cross, latent, latent_sum, latent_moment = (
            tensor.cpu().numpy() for tensor in (*self.sums, self.latent_sum, self.latent_moment)
        )
        return Accumulators(
            0, np.zeros(C), np.zeros((C, D)), latent, cross.reshape(C, D, R), moment,
            latent_sum, latent_moment, self.evidence, None,
        )  # fmt: skip


class _DevicePool:
    """Sums over utterances as `Pool` has them, made on the device while the centre is the same."""

    def __init__(self, extractor: DeviceExtractor):
        C, D = extractor.centre.shape
        at: dict[str, Any] = {"dtype": torch.float64, "device": extractor.device}
        self.zeroth, self.first = torch.zeros(C, **at), torch.zeros((C, D), **at)
        self.second: np.ndarray | None = None
        self.centre: np.ndarray | None = None
        self.pool = Pool()
        self.empty = True

    def add(self, zeroth: torch.Tensor, first: torch.Tensor, centre: np.ndarray | None) -> None:
        """Add statistics (U, C) and (U, C, D) about `centre`."""
        if self.empty or not same_centre(centre, self.centre):
            self.close()
            self.centre, self.empty = centre, False
        self.zeroth += zeroth.sum(0, dtype=torch.float64)
        self.first += first.sum(0, dtype=torch.float64)

    def add_second(self, second: np.ndarray | None) -> None:
        """Add a second-order sum about the centre of what was added last."""
        if second is not None:
            self.second = second if self.second is None else self.second + second

    def close(self) -> BaumWelchStatistics | None:
        """Sums of all that was added, as statistics of one utterance."""
        if not self.empty:
            zeroth, first = self.zeroth.cpu().numpy()[None], self.first.cpu().numpy()[None]
            self.pool.add(
                BaumWelchStatistics(zeroth.copy(), first.copy(), self.second, self.centre)
            )
            self.zeroth.zero_()
            self.first.zero_()
            self.second, self.empty = None, True
        return self.pool.stats
