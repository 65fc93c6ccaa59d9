"""Scores and trials matched by the pair of ids, never by the number of the line."""

from __future__ import annotations

import numpy as np

from fusion.formats.layouts import UNKNOWN
from fusion.formats.tables import ScoredTrials, Scores, Trials, complaint, show_row


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
        keys = keys_of(trials)
        keys.sort()
        if not (keys[1:] == keys[:-1]).any():
            _refuse_labels(scores, trials, slice(None))
            return ScoredTrials(trials, scores.values)
    listed, scored = _Sorted(keys_of(trials)), _Sorted(common_keys(scores, trials))

    listed.refuse_duplicates(trials, trials.labels, "trials", "label", allow_duplicates)
    scored.refuse_duplicates(scores, scores.values, "scores", "score", allow_duplicates)
    rows, found = scored.look_up(listed)
    if not found.all():
        cure = "score them, or take them out of the trial list"
        raise complaint(
            lambda row: show_row(trials, row), np.sort(listed.order[~found]),
            f"of {len(trials)} trials of {trials.origin.name} have no score in "
            f"{scores.origin.name}", cure if found.any() else strangers(scores, trials),
        )  # fmt: skip
    _, known = listed.look_up(scored)
    if not (subset or known.all()):
        raise complaint(
            lambda row: show_row(scores, row), np.sort(scored.order[~known]),
            f"scores of {scores.origin.name} belong to no trial of {trials.origin.name}",
            "give the list that was scored, or `subset` to measure a part",
        )  # fmt: skip
    row_of = np.empty(len(trials), np.int64)
    row_of[listed.order] = rows
    _refuse_labels(scores, trials, row_of)
    return ScoredTrials(trials, scores.values[row_of])


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


def keys_of(trials: Trials) -> np.ndarray:
    """One number (n_trials,) for each pair of ids."""
    keys = trials.enrol.astype(np.int64)
    keys *= len(trials.test_ids)
    keys += trials.test
    return keys


def common_keys(scores: Scores, trials: Trials) -> np.ndarray:
    """Key (n_scores,) of each score as of `keys_of` the trials, -1 for ids that they lack."""
    enrol, test = (
        _translate(*names)[side]
        for names, side in zip(_names(scores, trials), (scores.enrol, scores.test))
    )
    return np.where((enrol < 0) | (test < 0), -1, enrol * len(trials.test_ids) + test)


class _Sorted:
    """Keys of pairs in ascending order; -1 is the key of a pair that no trial can have."""

    def __init__(self, keys: np.ndarray):
        self.order = np.argsort(keys)
        self.keys = keys[self.order]
        if (self.keys[1:] == self.keys[:-1]).any():
            # Of equal keys the first line comes first. A stable sort takes several times as long.
            self.order = np.argsort(keys, kind="stable")

    def look_up(self, other: _Sorted) -> tuple[np.ndarray, np.ndarray]:
        """Row here of each key of `other`, in its sorted order, and whether it is here."""
        # Ascending queries stay in cache: at 10⁷ trials several times faster than random ones.
        position = np.minimum(np.searchsorted(self.keys, other.keys), len(self.keys) - 1)
        return self.order[position], (self.keys[position] == other.keys) & (other.keys >= 0)

    def refuse_duplicates(
        self, table: Scores | Trials, values: np.ndarray, things: str, what: str, allow: bool
    ) -> None:
        """Raise DataError if a pair comes twice, or twice with different values."""
        again = np.flatnonzero((self.keys[1:] == self.keys[:-1]) & (self.keys[1:] >= 0)) + 1
        values = values[self.order]
        differ = again[values[again] != values[again - 1]]
        name = table.origin.name
        if len(differ):
            what = f"{things} of {name} contradict an earlier {what} of the same trial"
            cure = "keep the right one"
        elif len(again) and not allow:
            what = f"{things} of {name} repeat an earlier line"
            cure = "remove them, or give `allow_duplicates`"
        else:
            return
        rows = np.sort(self.order[differ if len(differ) else again])
        raise complaint(lambda row: show_row(table, row), rows, what, cure)


def _translate(ids: list[str], known: list[str]) -> np.ndarray:
    """Positions (len(ids),) of ids in another list, -1 where it lacks them."""
    table = {name: code for code, name in enumerate(known)}
    return np.fromiter((table.get(name, -1) for name in ids), np.int64, len(ids))
