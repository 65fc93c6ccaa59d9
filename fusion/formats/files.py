"""Score files and trial lists: read as compact arrays, matched by trial, written as same bytes.

Scores are text, one trial a line, ``enrol test score`` (Kaldi, house order) or
``score enrol test`` (VoxCeleb tools, tiny-voxceleb), or with the label beside the score (WeSpeaker,
SpeechBrain). Trials are ``enrol test target|nontarget``
(Kaldi), ``1|0 enrol test`` (VoxCeleb; -1 for a label not known, tiny-voxceleb), ``enrol test 1|0``
(CN-Celeb) or ``enrol test`` (no labels). Cells are delimited by blanks, or by commas or
semicolons. With a header, columns go by their names and may be more (NIST's ``modelid segmentid
side LLR`` and its keys; tables of spreadsheets). Any of them may be gzipped. Matrices of BOSARIS
and SIDEKIT in HDF5 are read too (`fusion.formats.hdf5`). What a file is, is told from its content.

Scores and trials are matched by the pair of ids, never by the number of the line.
"""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

from fusion.formats.parsing import Paths, read_pairs
from fusion.formats.records import Growing, Interner, Origin
from fusion.formats.tables import SCORE_COLUMNS, ScoredTrials, Scores, Trials, complaint, show_row
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write

HDF5_SUFFIXES = (".h5", ".hdf5")
_WRITE_LINES = 1 << 16


def read_scores(paths: Paths, score_column: str = "auto") -> Scores:
    r"""Read a score file, or several as one.

    Parameters
    ----------
    paths : path-like or sequence of path-like
    score_column : {"auto", "first", "last"}
        Where the score stands in a file without a header. "auto" takes the column of numbers; if
        ids are numbers too, the one whose numbers have a decimal point or an exponent.

    Raises
    ------
    DataError
        A file is missing, empty, not UTF-8 text, or a line has not the columns of the others with
        a finite score; or both outer columns could be scores.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_scores
    >>> _ = Path("scores").write_text("spk1 utt1 2.5\nspk1 utt2 -1.0\n")
    >>> scores = read_scores("scores")
    >>> scores.values.tolist(), [scores.test_ids[k] for k in scores.test]
    ([2.5, -1.0], ['utt1', 'utt2'])
    """
    if score_column not in SCORE_COLUMNS:
        raise UsageError(f"score_column must be one of {', '.join(SCORE_COLUMNS)}")

    enrol, test, values, enrol_ids, test_ids, origin = read_pairs(paths, True, score_column)
    return Scores(enrol, test, values, enrol_ids, test_ids, origin)


def read_trials(paths: Paths) -> Trials:
    r"""Read a trial list, or several as one.

    Raises
    ------
    DataError
        A file is missing, empty, not UTF-8 text, or a line is not a trial.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_trials
    >>> _ = Path("trials").write_text("spk1 utt1 target\nspk1 utt2 nontarget\n")
    >>> trials = read_trials("trials")
    >>> trials.labels.tolist(), trials.enrol_ids, trials.test_ids
    ([1, 0], ['spk1'], ['utt1', 'utt2'])
    """

    enrol, test, labels, enrol_ids, test_ids, origin = read_pairs(paths, False)
    return Trials(enrol, test, labels, enrol_ids, test_ids, origin)


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
        contradictory labels or scores; with the count, and files and lines of the first.

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
        keys = _keys(trials)
        keys.sort()
        if not (keys[1:] == keys[:-1]).any():
            return ScoredTrials(trials, scores.values)
    n_test = len(trials.test_ids)
    enrol = _translate(scores.enrol_ids, trials.enrol_ids)[scores.enrol]
    test = _translate(scores.test_ids, trials.test_ids)[scores.test]
    listed = _Sorted(_keys(trials))
    scored = _Sorted(np.where((enrol < 0) | (test < 0), -1, enrol * n_test + test))

    listed.refuse_duplicates(trials, trials.labels, "trials", "label", allow_duplicates)
    scored.refuse_duplicates(scores, scores.values, "scores", "score", allow_duplicates)
    rows, found = scored.look_up(listed)
    if not found.all():
        raise complaint(
            lambda row: show_row(trials, row), np.sort(listed.order[~found]),
            f"of {len(trials)} trials of {trials.origin.name} have no score in "
            f"{scores.origin.name}", "score them, or take them out of the trial list",
        )  # fmt: skip
    _, known = listed.look_up(scored)
    if not (subset or known.all()):
        raise complaint(
            lambda row: show_row(scores, row), np.sort(scored.order[~known]),
            f"scores of {scores.origin.name} belong to no trial of {trials.origin.name}",
            "give the list that was scored, or --subset (subset=True in Python) to measure a part",
        )  # fmt: skip
    values = np.empty(len(trials))
    values[listed.order] = scores.values[rows]
    return ScoredTrials(trials, values)


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
        and scores.enrol_ids == trials.enrol_ids
        and scores.test_ids == trials.test_ids
        and np.array_equal(scores.enrol, trials.enrol)
        and np.array_equal(scores.test, trials.test)
    )


def _keys(trials: Trials) -> np.ndarray:
    """One number (n_trials,) for each pair of ids."""
    keys = trials.enrol.astype(np.int64)
    keys *= len(trials.test_ids)
    keys += trials.test
    return keys


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
            cure = "remove them, or give --allow-duplicates (allow_duplicates=True in Python)"
        else:
            return
        rows = np.sort(self.order[differ if len(differ) else again])
        raise complaint(lambda row: show_row(table, row), rows, what, cure)


def _translate(ids: list[str], known: list[str]) -> np.ndarray:
    """Positions (len(ids),) of ids in another list, -1 where it lacks them."""
    table = {name: code for code, name in enumerate(known)}
    return np.fromiter((table.get(name, -1) for name in ids), np.int64, len(ids))


def write_trial_scores(path: str | os.PathLike, trials: Trials, values: ArrayLike) -> None:
    r"""Write the scores (n_trials,) of a trial list, by `write_scores`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion.formats import read_trials, write_trial_scores
    >>> _ = Path("trials").write_text("spk1 utt1 target\nspk1 utt2 nontarget\n")
    >>> write_trial_scores("scores", read_trials("trials"), [2.5, -1.0])
    >>> print(Path("scores").read_text(), end="")
    spk1 utt1 2.500000
    spk1 utt2 -1.000000
    """
    enrol = (trials.enrol_ids[i] for i in trials.enrol)
    test = (trials.test_ids[j] for j in trials.test)
    write_scores(path, enrol, test, np.asarray(values, np.float64))


def write_scores(
    path: str | os.PathLike,
    enrol: Iterable[str],
    test: Iterable[str],
    scores: Iterable[float],
    decimals: int = 6,
    flavour: str = "bosaris",
) -> None:
    """Write ``enrol test score`` lines; the same scores give the same bytes.

    The three are read in step and in blocks, so that they may be generators; the file appears
    when it is complete. A name that ends in ``.gz`` is gzipped; one that ends in ``.h5`` or
    ``.hdf5`` becomes a matrix in HDF5, with all digits.

    Parameters
    ----------
    path : path-like
    enrol, test : iterable of str
        Ids of each trial.
    scores : iterable of float
    decimals : int
        Digits after the point; Kaldi prints about as many as the default.
    flavour : {"bosaris", "sidekit"}
        Whose names a file of HDF5 takes.

    Raises
    ------
    DataError
        A score is not finite, an id is empty or has a blank in it, the lengths differ, or the
        file cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import write_scores
    >>> write_scores("scores", ["spk1", "spk1"], ["utt1", "utt2"], [2.5, -1.0], decimals=2)
    >>> print(Path("scores").read_text(), end="")
    spk1 utt1 2.50
    spk1 utt2 -1.00
    """
    if isinstance(scores, np.ndarray):
        scores = (value for block in _blocks_of(scores) for value in block)
    rows = zip(enrol, test, scores, strict=True)
    if os.fspath(path).endswith(HDF5_SUFFIXES):
        from fusion.formats import hdf5

        hdf5.write_scores(path, _gathered(path, rows), flavour)
        return
    with atomic_write(path, "wb") as file:
        packed: IO[bytes] | None = None
        if os.fspath(path).endswith(".gz"):
            packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0)  # type: ignore[assignment]
        while block := _next_block(path, rows):
            (packed or file).write(_lines(path, block, decimals))
        if packed:
            packed.close()


def _gathered(path: str | os.PathLike, rows: Iterable[tuple[str, str, float]]) -> Scores:
    """Rows as a table, checked as lines of text are."""
    enrol, test, origin = Interner(), Interner(), Origin()
    parts = [Growing(np.dtype(kind)) for kind in ("i4", "i4", "f8")]
    while block := _next_block(path, rows):
        _lines(path, block, 0)
        for part, interner, ids in zip(parts, (enrol, test), list(zip(*block))[:2]):
            part.extend(interner.codes([name.encode("utf-8") for name in ids]))
        parts[2].extend(np.array([row[2] for row in block]))
    codes = [part.done() for part in parts]
    return Scores(codes[0], codes[1], codes[2], enrol.ids(), test.ids(), origin)


def _blocks_of(values: np.ndarray) -> Iterable[list[float]]:
    for start in range(0, len(values), _WRITE_LINES):
        yield values[start : start + _WRITE_LINES].tolist()


def _next_block(path: str | os.PathLike, rows: Iterable[tuple[str, str, float]]) -> list:
    try:
        return list(itertools.islice(rows, _WRITE_LINES))
    except ValueError as error:
        if "zip()" not in str(error):
            raise
        raise DataError(f"{path}: not as many enrolment ids, test ids and scores") from None


def _lines(path: str | os.PathLike, block: list[tuple[str, str, float]], decimals: int) -> bytes:
    for name in {name for row in block for name in row[:2]}:
        if name.split() != [name]:
            raise DataError(f"{path}: the id {name!r} is empty or has a blank; rename it")
    if not np.isfinite([row[2] for row in block]).all():
        enrol, test, score = next(row for row in block if not np.isfinite(row[2]))
        raise DataError(f"{path}: the score of '{enrol} {test}' is {score}; it must be finite")
    text = f"%s %s %.{decimals}f\n" * len(block) % tuple(itertools.chain.from_iterable(block))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: an id cannot be written as UTF-8: {error.reason}") from None
