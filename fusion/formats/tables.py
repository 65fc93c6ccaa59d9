"""Scores and trial lists as compact arrays, as read, and matched with one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fusion.formats.layouts import NONTARGET, SCORE_PLACES, TARGET, UNKNOWN
from fusion.formats.records import Origin
from ivector.base.errors import DataError

SCORE_COLUMNS = ("auto", *SCORE_PLACES)


@dataclass(frozen=True)
class Scores:
    r"""Scored trials as read.

    Parameters
    ----------
    enrol, test : ndarray (n,) int32
        Positions in `enrol_ids` and `test_ids`.
    values : ndarray (n,) float64
        Scores; higher means the same speaker.
    enrol_ids, test_ids : list of str
    origin : Origin
        The file and line of each row.
    labels : ndarray (n,) int8, optional
        Labels beside the scores, if the files have some; -1 unknown.
    enrol_sided, test_sided : list of str, optional
        The ids with the sides of their recordings, ``segment:side``, if the files name sides.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_scores
    >>> _ = Path("scores").write_text("spk1 utt1 2.5\nspk1 utt2 -1.0\n")
    >>> scores = read_scores("scores")
    >>> len(scores), scores.values.tolist(), scores.enrol.tolist(), scores.enrol_ids
    (2, [2.5, -1.0], [0, 0], ['spk1'])
    """

    enrol: np.ndarray
    test: np.ndarray
    values: np.ndarray
    enrol_ids: list[str]
    test_ids: list[str]
    origin: Origin
    labels: np.ndarray | None = None
    enrol_sided: list[str] | None = None
    test_sided: list[str] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Trials:
    r"""A trial list as read.

    Parameters
    ----------
    enrol, test : ndarray (n,) int32
        Positions in `enrol_ids` and `test_ids`.
    labels : ndarray (n,) int8
        1 target, 0 nontarget, -1 unknown.
    enrol_ids, test_ids : list of str
    origin : Origin
        The file and line of each row.
    enrol_sided, test_sided : list of str, optional
        As of `Scores`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_trials
    >>> _ = Path("trials").write_text("spk1 utt1 target\nspk1 utt2 nontarget\n")
    >>> trials = read_trials("trials")
    >>> len(trials), trials.labels.tolist(), trials.test.tolist(), trials.test_ids
    (2, [1, 0], [0, 1], ['utt1', 'utt2'])
    """

    enrol: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    enrol_ids: list[str]
    test_ids: list[str]
    origin: Origin
    enrol_sided: list[str] | None = None
    test_sided: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ScoredTrials:
    r"""Trials with their scores, in the order of the trial list.

    Parameters
    ----------
    trials : Trials
    values : ndarray (n,) float64

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import align, read_scores, read_trials
    >>> _ = Path("scores").write_text("spk1 utt1 2.5\nspk1 utt2 -1.0\n")
    >>> _ = Path("trials").write_text("spk1 utt2 nontarget\nspk1 utt1 target\n")
    >>> tar, non = align(read_scores("scores"), read_trials("trials")).split()
    >>> tar.tolist(), non.tolist()
    ([2.5], [-1.0])
    """

    trials: Trials
    values: np.ndarray

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the target and of the nontarget trials; raises what `check` raises."""
        self.check()
        labels = self.trials.labels
        return self.values[labels == TARGET], self.values[labels == NONTARGET]

    def check(self) -> None:
        """Refuse trials that cannot be measured.

        Raises
        ------
        DataError
            A trial's label is unknown, or a class has no trials.
        """
        labels, name = self.trials.labels, self.trials.origin.name
        if (labels == UNKNOWN).any():
            raise complaint(
                lambda row: show_row(self.trials, row), np.flatnonzero(labels == UNKNOWN),
                f"of {len(labels)} trials of {name} have an unknown label",
                "take them out, as nothing can be measured on them",
            )  # fmt: skip
        n_targets = int(np.count_nonzero(labels == TARGET))
        if not 0 < n_targets < len(labels):
            missing = "nontarget" if n_targets else "target"
            raise DataError(f"{name}: has no {missing} trials; error rates need both classes")


def complaint(show: Callable[[int], str], rows: np.ndarray, what: str, cure: str) -> DataError:
    """Error with the number of offending rows, the first three of them, and the cure."""
    examples = ", ".join(show(int(row)) for row in rows[:3])
    return DataError(f"{len(rows)} {what}, first {examples}; {cure}")


def show_row(table: Scores | Trials, row: int) -> str:
    """Name one pair and where it stands."""
    pair = f"{table.enrol_ids[table.enrol[row]]} {table.test_ids[table.test[row]]}"
    return f"'{pair}' ({table.origin.where(row)})"
