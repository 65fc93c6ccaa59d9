"""Scores and trials matched by the pair of ids, never by the number of the line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fusion.formats.layouts import UNKNOWN
from fusion.formats.tables import ScoredTrials, Scores, Trials, complaint, show_row

LARGE_ROWS = 1 << 18  # below, loading the kernels takes longer than they save
_BLOCK = 1 << 20


def align(
    scores: Scores, trials: Trials, *, subset: bool = False, allow_duplicates: bool = False
) -> ScoredTrials:
    r"""Give every trial its score, matched by the pair of ids.

    Parameters
    ----------
    scores : Scores
    trials : Trials
    subset : bool
        Whether `scores` may hold pairs that are not in `trials`.
    allow_duplicates : bool
        Whether a trial may be listed (and then counts) more than once with the same label, and
        scored more than once with the same score.

    Raises
    ------
    DataError
        Trials without a score, scores without a trial, trials given twice, or given twice with
        contradictory labels or scores, labels beside the scores that contradict the list; with the
        count, and files and lines of the first.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import align, read_scores, read_trials
    >>> _ = Path("scores").write_text("spk1 utt1 2.5\nspk1 utt2 -1.0\n")
    >>> _ = Path("trials").write_text("spk1 utt2 nontarget\nspk1 utt1 target\n")
    >>> scored = align(read_scores("scores"), read_trials("trials"))
    >>> scored.values.tolist()
    [-1.0, 2.5]
    """
    if same_order(scores, trials):
        # As toolkits score a list from top to bottom: half of the memory, a fraction of the time.
        keys = trials.enrol.astype(np.int64)
        keys *= len(trials.test_ids)
        keys += trials.test
        keys.sort()
        if not (keys[1:] == keys[:-1]).any():
            _refuse_labels(scores, trials, slice(None))
            return ScoredTrials(trials, scores.values)
    listed = PairIndex(trials.enrol, trials.test)
    rows, same_trial = rows_of(scores, trials, listed), listed.first
    del listed  # larger than the rest
    _refuse_duplicates(trials, trials.labels, same_trial, "label", allow_duplicates)
    score_of, first = _first_scores(rows, len(trials))
    _refuse_duplicates(scores, scores.values, first, "score", allow_duplicates)
    del first
    score_of, n_known = score_of[same_trial], int(np.count_nonzero(rows >= 0))
    if (score_of < 0).any():
        cure = "score them, or take them out of the trial list"
        raise complaint(
            lambda row: show_row(trials, row), np.flatnonzero(score_of < 0),
            f"of {len(trials)} trials of {trials.origin.name} have no score in "
            f"{scores.origin.name}", cure if n_known else strangers(scores, trials),
        )  # fmt: skip
    if not subset and n_known < len(scores):
        raise complaint(
            lambda row: show_row(scores, row), np.flatnonzero(rows < 0),
            f"scores of {scores.origin.name} belong to no trial of {trials.origin.name}",
            "give the list that was scored, or `subset` to measure a part",
        )  # fmt: skip
    _refuse_labels(scores, trials, score_of)
    return ScoredTrials(trials, scores.values[score_of])


def same_order(scores: Scores, trials: Trials) -> bool:
    r"""Whether the scores are of the trials, one each and in their order.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion.formats import read_scores, read_trials, same_order
    >>> _ = Path("scores").write_text("spk1 utt1 2.5\nspk1 utt2 -1.0\n")
    >>> _ = Path("trials").write_text("spk1 utt2 nontarget\nspk1 utt1 target\n")
    >>> same_order(read_scores("scores"), read_trials("trials"))
    False
    """
    return (
        len(scores) == len(trials)
        and all(mine == theirs for mine, theirs in _names(scores, trials))
        and np.array_equal(scores.enrol, trials.enrol)
        and np.array_equal(scores.test, trials.test)
    )


def _names(scores: Scores, trials: Trials) -> list[tuple[list[str], list[str]]]:
    """Ids of models and of tests by which two tables are matched.

    With their sides if both tables name sides, else as they are.
    """
    found = [(scores.enrol_ids, trials.enrol_ids), (scores.test_ids, trials.test_ids)]
    sided = [(scores.enrol_sided, trials.enrol_sided), (scores.test_sided, trials.test_sided)]
    return [both if both[0] and both[1] else plain for plain, both in zip(found, sided)]  # type: ignore[misc]


def strangers(scores: Scores, trials: Trials) -> str:
    """What to do about scores of none of the trials."""
    (mine, theirs), (test, other) = _names(scores, trials)
    sided = bool(scores.test_sided) != bool(trials.test_sided)
    one, two = (mine[0], theirs[0]) if not set(mine) & set(theirs) else (test[0], other[0])
    return (
        f"an id is {one!r} there and {two!r} here; do they belong together"
        f"{', and is the column of sides one' if sided else ''}?"
    )


def _refuse_labels(scores: Scores, trials: Trials, row_of: np.ndarray | slice) -> None:
    """Raise DataError if labels beside the scores are not those of the trials.

    `row_of` (n_trials,) gives the score of each trial.
    """
    if scores.labels is None:
        return
    wrong = contradict(scores.labels[row_of], trials.labels)
    if len(wrong):
        rows = np.sort(np.arange(len(scores))[row_of][wrong])
        raise complaint(
            lambda row: show_row(scores, row), rows, f"labels contradict the list: those beside "
            f"the scores of {scores.origin.name} are not those of {trials.origin.name}",
            "mend what is wrong",
        )  # fmt: skip


def contradict(beside: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where labels (n,) beside scores contradict those of the trials (n,)."""
    return np.flatnonzero((beside != labels) & (beside != UNKNOWN) & (labels != UNKNOWN))


def rows_of(scores: Scores, trials: Trials, listed: PairIndex) -> np.ndarray:
    """First trial (n_scores,) int32 of each score's pair, -1 where there is none.

    `listed` is the index of the trials' pairs.
    """
    codes = [None if mine == theirs else _translate(mine, theirs) for mine, theirs in
             _names(scores, trials)]  # fmt: skip
    rows = np.empty(len(scores), np.int32)
    for part in _blocks(len(scores)):
        sides = scores.enrol[part], scores.test[part]
        rows[part] = listed.find(
            *(side if code is None else code[side] for code, side in zip(codes, sides))
        )
    return rows


def _first_scores(rows: np.ndarray, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """First score (n_trials,) int32 of each trial, -1 without one; and (n_scores,) of its pair.

    `rows` as of `rows_of`; a score of no trial stands for itself.
    """
    score_of = np.full(n_trials, -1, np.int32)
    first = np.arange(len(rows), dtype=np.int32)
    blocks = list(_blocks(len(rows)))
    for part in reversed(blocks):  # so that the first stays
        known = part.start + np.flatnonzero(rows[part] >= 0)[::-1]
        score_of[rows[known]] = known
    for part in blocks:
        known = part.start + np.flatnonzero(rows[part] >= 0)
        first[known] = score_of[rows[known]]
    return score_of, first


def _blocks(n_rows: int) -> Iterator[slice]:
    """Parts of some rows; what indexes them takes eight bytes each in NumPy."""
    return (slice(start, start + _BLOCK) for start in range(0, n_rows, _BLOCK))


class PairIndex:
    """Where pairs of numbers stand first.

    Parameters
    ----------
    one, two : ndarray (n,) int32
        Not negative.

    Attributes
    ----------
    first : ndarray (n,) int32
        First row with the same pair.
    """

    def __init__(self, one: np.ndarray, two: np.ndarray):
        self._one, self._two = one, two
        self._is_large = len(one) >= LARGE_ROWS
        if self._is_large:
            from fusion.formats.kernels import first_of_pairs

            self._table = np.full(1 << (2 * len(one) - 1).bit_length(), -1, np.int32)
            self.first = np.empty(len(one), np.int32)
            first_of_pairs(one, two, self._table, self.first)
            return
        self._width = int(two.max(initial=0)) + 1
        keys = self._keys(one, two)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        place = np.searchsorted(self._sorted, keys)
        self.first = self._order[place].astype(np.int32)

    def find(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """First row (m,) int32 of each of some pairs, -1 where there is none."""
        if self._is_large:
            from fusion.formats.kernels import find_pairs

            rows = np.empty(len(one), np.int32)
            find_pairs(self._one, self._two, self._table, one, two, rows)
            return rows
        keys = self._keys(one, two)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        known = (self._sorted[place] == keys) & (one >= 0) & (two >= 0) & (two < self._width)
        return np.where(known, self._order[place], -1).astype(np.int32)

    def _keys(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return one.astype(np.int64) * self._width + two


def repeats(first: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose pair has come before, and those of them with another value than the first."""
    again = np.flatnonzero(first != np.arange(len(first), dtype=np.int32))
    return again, again[values[again] != values[first[again]]]


def _refuse_duplicates(
    table: Scores | Trials, values: np.ndarray, first: np.ndarray, what: str, allow: bool
) -> None:
    """Raise DataError if a pair comes twice, or twice with different values."""
    again, differ = repeats(first, values)
    things = f"{'trials' if what == 'label' else 'scores'} of {table.origin.name}"
    if len(differ):
        what = f"{things} contradict an earlier {what} of the same trial"
        cure = "keep the right one"
    elif len(again) and not allow:
        what = f"{things} repeat an earlier line"
        cure = "remove them, or give `allow_duplicates`"
    else:
        return
    rows = differ if len(differ) else again
    raise complaint(lambda row: show_row(table, row), rows, what, cure)


def _translate(ids: list[str], known: list[str]) -> np.ndarray:
    """Positions (len(ids),) int32 of ids in another list, -1 where it lacks them."""
    table = {name: code for code, name in enumerate(known)}
    return np.fromiter((table.get(name, -1) for name in ids), np.int32, len(ids))
