"""Baum-Welch statistics of a batch of utterances, which add, pool and move to other centres.

For utterance u and component c with posteriors γ_t(c) of its frames x_t (Kenny 2005, eqs. 1-3;
Kaldi's ``IvectorExtractorUtteranceStats``):

    zeroth  N_uc = Σ_t γ_t(c)
    first   F_uc = Σ_t γ_t(c) (x_t − b_c)
    second  S_c  = Σ_u Σ_t γ_t(c) (x_t − b_c)(x_t − b_c)'   (summed over utterances)

about a centre b_c that the object carries with it: nothing (raw statistics, b = 0) or, usually,
the UBM's means.

Dimensions
----------
U utterances, C components, D feature dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ivector.base.errors import DataError
from ivector.statistics.accumulation import count_scale


class BaumWelchStatistics:
    """Zeroth- and first-order statistics of a batch of utterances.

    Statistics add: ``a + b`` holds the utterances of both (second-order sums add);
    `pool` sums utterances of one speaker; ``stats[3:10]`` takes some utterances.

    Parameters
    ----------
    zeroth : array_like (n_utterances, n_components)
        Occupation counts, in frames.
    first : array_like (n_utterances, n_components, n_features)
        Sums of posterior-weighted features about `centre`.
    second : array_like (n_components, n_features, n_features), optional
        Scatter about `centre`, summed over all utterances; only the re-estimation of
        covariances needs it.
    centre : array_like (n_components, n_features), optional
        What the features were centred about; None means raw statistics.

    Raises
    ------
    DataError
        Shapes that contradict each other, NaN or infinity, a negative count.

    Notes
    -----
    float32 and float64 arrays are kept as given, without a copy.

    Examples
    --------
    >>> import numpy as np
    >>> zeroth = np.array([[20.0, 80.0], [50.0, 50.0], [30.0, 10.0]])
    >>> stats = BaumWelchStatistics(zeroth, np.zeros((3, 2, 60)))
    >>> stats
    BaumWelchStatistics(3 utterances, 2 components, 60 features; zeroth, first order, raw)
    >>> stats.pool([[0, 2], [1]]).zeroth.tolist()  # utterances 0 and 2 are of one speaker
    [[50.0, 90.0], [50.0, 50.0]]
    >>> len(stats[1:] + stats)
    5
    """

    def __init__(
        self,
        zeroth: ArrayLike,
        first: ArrayLike,
        second: ArrayLike | None = None,
        centre: ArrayLike | None = None,
    ) -> None:
        self.zeroth = _floating(zeroth)
        self.first = _floating(first)
        self.second = None if second is None else np.asarray(second, np.float64)
        self.centre = None if centre is None else np.asarray(centre, np.float64)
        self._check_shapes()
        self._check_values()

    @property
    def n_components(self) -> int:
        """Number of components C."""
        return self.first.shape[1]

    @property
    def n_features(self) -> int:
        """Feature dimension D."""
        return self.first.shape[2]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_utterances, n_components, n_features), as scikit-learn's splitters ask for."""
        return self.first.shape

    @property
    def n_frames(self) -> float:
        """Sum of all posteriors, in frames."""
        return float(self.zeroth.sum(dtype=np.float64))

    @property
    def centred(self) -> bool:
        """Whether the sums are about `centre` rather than raw."""
        return self.centre is not None

    def __len__(self) -> int:
        return len(self.zeroth)

    def __repr__(self) -> str:
        kind = "centred" if self.centred else "raw"
        order = "zeroth, first" if self.second is None else "zeroth, first, second"
        return (
            f"BaumWelchStatistics({len(self)} utterances, {self.n_components} components, "
            f"{self.n_features} features; {order} order, {kind})"
        )

    def __getitem__(self, key: Any) -> BaumWelchStatistics:
        """Statistics of some utterances: an index, a slice, a list of indices or a mask.

        The second-order sum stays only where all utterances are asked for in one slice.
        """
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # As scikit-learn asks for rows of what has a shape.
        if isinstance(key, (int, np.integer)):
            key = [key]
        try:
            zeroth, first = self.zeroth[key], self.first[key]
        except IndexError as error:
            raise DataError(f"statistics of {len(self)} utterances: {error}") from error
        if zeroth.ndim != 2:
            raise DataError(f"statistics are indexed by utterances alone, got [{key!r}]")
        part = object.__new__(BaumWelchStatistics)  # Checked once already, as a whole.
        whole = isinstance(key, slice) and len(zeroth) == len(self)
        part.zeroth, part.first, part.centre = zeroth, first, self.centre
        part.second = self.second if whole else None
        return part

    def __add__(self, other: BaumWelchStatistics) -> BaumWelchStatistics:
        if not isinstance(other, BaumWelchStatistics):
            return NotImplemented
        return BaumWelchStatistics.concatenate([self, other])

    @classmethod
    def concatenate(cls, parts: Sequence[BaumWelchStatistics]) -> BaumWelchStatistics:
        """Statistics of the utterances of all `parts`, in order; second-order sums add.

        Raises
        ------
        DataError
            No parts, parts of different models or centres, or only some with second order.
        """
        if not parts:
            raise DataError("no statistics to concatenate: the list is empty")
        head = parts[0]
        for number, part in enumerate(parts):
            if part.first.shape[1:] != head.first.shape[1:]:
                raise DataError(
                    f"part {number} has (components, features) {part.first.shape[1:]}, "
                    f"the first has {head.first.shape[1:]}: they come from different UBMs"
                )
            if not same_centre(part.centre, head.centre):
                raise DataError(
                    f"part {number} is centred differently from the first; apply about(means)"
                )
            if (part.second is None) != (head.second is None):
                raise DataError(
                    f"part {number} and the first differ in having second-order statistics; "
                    "accumulate all with `second_order`=True, or none"
                )
        seconds = [part.second for part in parts if part.second is not None]
        second = np.sum(seconds, axis=0) if seconds else None
        return cls(
            np.concatenate([part.zeroth for part in parts]),
            np.concatenate([part.first for part in parts]),
            second,
            head.centre,
        )

    def pool(self, groups: Sequence[Sequence[int]]) -> BaumWelchStatistics:
        """Sum the utterances of each group, as if their frames were one utterance.

        Parameters
        ----------
        groups : sequence of sequences of int
            Indices of the utterances of each speaker or enrolment.

        Returns
        -------
        BaumWelchStatistics
            One "utterance" a group; the second-order sum stays where the groups use every
            utterance exactly once.
        """
        rows = [np.asarray(group, dtype=np.int64) for group in groups]
        for number, group in enumerate(rows):
            if not group.size or group.min() < 0 or group.max() >= len(self):
                raise DataError(
                    f"group {number} is empty or names an utterance outside 0..{len(self) - 1}"
                )
        zeroth = [self.zeroth[group].sum(0, dtype=np.float64) for group in rows]
        first = [self.first[group].sum(0, dtype=np.float64) for group in rows]
        used = np.sort(np.concatenate(rows)) if rows else np.empty(0, int)
        partition = np.array_equal(used, np.arange(len(self)))
        return BaumWelchStatistics(
            np.reshape(zeroth, (-1, self.n_components)).astype(self.zeroth.dtype),
            np.reshape(first, (-1, *self.first.shape[1:])).astype(self.first.dtype),
            self.second if partition else None,
            self.centre,
        )

    def about(self, centre: np.ndarray | None) -> BaumWelchStatistics:
        """The same statistics about another centre; None makes them raw.

        Parameters
        ----------
        centre : ndarray (n_components, n_features) or None
        """
        if same_centre(centre, self.centre):
            return self
        shape = self.first.shape[1:]
        old = np.zeros(shape) if self.centre is None else self.centre
        new = np.zeros(shape) if centre is None else np.asarray(centre, np.float64)
        if new.shape != shape:
            raise DataError(f"centre has shape {new.shape}, the statistics need {shape}")
        shift = new - old
        first = np.empty_like(self.first)
        for row, (zeroth, about_old) in enumerate(zip(self.zeroth, self.first)):
            first[row] = about_old - zeroth.astype(np.float64)[:, None] * shift
        second = self._second_about(shift)
        return BaumWelchStatistics(self.zeroth, first, second, centre)

    def _second_about(self, shift: np.ndarray) -> np.ndarray | None:
        """S about b + d from S about b: S − f d' − d f' + n d d'."""
        if self.second is None:
            return None
        cross = self.first.sum(0, dtype=np.float64)[:, :, None] * shift[:, None, :]
        count = self.zeroth.sum(0, dtype=np.float64)[:, None, None]
        square = shift[:, :, None] * shift[:, None, :]
        return self.second - cross - cross.transpose(0, 2, 1) + count * square

    def scaled(self, posterior_scale: float = 1.0, max_count: float = 0.0) -> BaumWelchStatistics:
        """Scale every utterance's statistics as ``ivector-extract`` does.

        Parameters
        ----------
        posterior_scale : float
            Kaldi's ``--acoustic-weight``: below 1 it makes up for frames that are not
            independent, and gives the prior more weight.
        max_count : float
            Kaldi's ``--max-count``: utterances with more frames (after `posterior_scale`) are
            scaled down to this count; 0 sets no limit.

        Returns
        -------
        BaumWelchStatistics
            Without second order where a limit made the scales of utterances differ.
        """
        frames = self.zeroth.sum(1, dtype=np.float64)
        scale = count_scale(frames, posterior_scale, max_count)
        second = self.second
        if second is not None:
            second = second * posterior_scale if np.all(scale == posterior_scale) else None
        return BaumWelchStatistics(
            (self.zeroth * scale[:, None]).astype(self.zeroth.dtype),
            (self.first * scale[:, None, None]).astype(self.first.dtype),
            second,
            self.centre,
        )

    def to_arrays(self) -> Iterator[np.ndarray]:
        """Yield one array (n_components, 1 + n_features) = [N, F] an utterance, for archives."""
        for zeroth, first in zip(self.zeroth, self.first):
            yield np.concatenate([zeroth[:, None], first], axis=1)

    @classmethod
    def from_arrays(
        cls,
        arrays: Sequence[np.ndarray],
        second: ArrayLike | None = None,
        centre: ArrayLike | None = None,
    ) -> BaumWelchStatistics:
        """Statistics from what `to_arrays` gave; the inverse of it.

        Parameters
        ----------
        arrays : sequence of ndarray (n_components, 1 + n_features)
        second, centre : as in the class
        """
        rows = [np.asarray(array) for array in arrays]
        if not rows:
            raise DataError("no statistics: the list of arrays is empty")
        for number, row in enumerate(rows):
            if row.ndim != 2 or row.shape != rows[0].shape or row.shape[1] < 2:
                raise DataError(
                    f"array {number} has shape {row.shape}; expected one array of "
                    f"(components, 1 + features) an utterance, all like the first {rows[0].shape}"
                )
        stacked = np.stack(rows)
        return cls(stacked[:, :, 0], stacked[:, :, 1:], second, centre)

    def _check_shapes(self) -> None:
        if self.zeroth.ndim != 2 or self.first.shape[:2] != self.zeroth.shape:
            raise DataError(
                f"zeroth {self.zeroth.shape} and first {self.first.shape} order statistics do not "
                "match; expected (utterances, components) and (utterances, components, features)"
            )
        if self.first.ndim != 3:
            raise DataError(
                f"first-order statistics have shape {self.first.shape}, expected 3 axes"
            )
        _, n_components, n_features = self.first.shape
        if self.second is not None and self.second.shape != (n_components, n_features, n_features):
            raise DataError(
                f"second-order statistics have shape {self.second.shape}, expected "
                f"{(n_components, n_features, n_features)}"
            )
        if self.centre is not None and self.centre.shape != (n_components, n_features):
            raise DataError(
                f"centre has shape {self.centre.shape}, expected {(n_components, n_features)}"
            )

    def _check_values(self) -> None:
        # A finite sum has no NaN or infinity among its terms; so the culprit is searched for
        # only where there may be one.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(self.zeroth.sum()) and np.isfinite(self.first.sum())
        if not finite:
            bad = ~(np.isfinite(self.zeroth).all(1) & np.isfinite(self.first).all((1, 2)))
            if bad.any():
                raise DataError(
                    f"statistics of utterance {int(bad.argmax())} contain NaN or infinity "
                    f"({int(bad.sum())} utterances do); check its features"
                )
        if self.zeroth.size and self.zeroth.min() < 0:
            worst = int(self.zeroth.min(1).argmin())
            raise DataError(f"statistics of utterance {worst} have a negative occupation count")
        if self.second is not None and not np.isfinite(self.second).all():
            bad = ~np.isfinite(self.second).all((1, 2))
            raise DataError(
                f"second-order statistics of component {int(bad.argmax())} contain NaN or "
                "infinity; check the features"
            )


def _floating(array: ArrayLike) -> np.ndarray:
    array = np.asarray(array)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def same_centre(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two centres (C, D), or None for raw statistics, are the same."""
    if a is None or b is None:
        return a is b
    return a is b or np.array_equal(a, b)
