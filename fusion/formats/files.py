"""Score files and trial lists: read as compact arrays, matched by trial, written as same bytes.

Scores are text, one trial a line, ``enrol test score`` (Kaldi, house order) or
``score enrol test`` (VoxCeleb tools, tiny-voxceleb), or with the label beside the score (WeSpeaker,
SpeechBrain). Trials are ``enrol test target|nontarget``
(Kaldi), ``1|0 enrol test`` (VoxCeleb; -1 for a label not known, tiny-voxceleb), ``enrol test 1|0``
(CN-Celeb) or ``enrol test`` (no labels). Cells are delimited by blanks, or by commas or
semicolons, and may be quoted. With a header, columns go by their names and may be more (NIST's
``modelid segmentid side LLR`` and its keys; tables of spreadsheets); a side belongs to the id of
the segment. Nothing is chosen silently: of two columns that could be the same thing, one must be
named. Any of them may be gzipped. Matrices of BOSARIS
and SIDEKIT in HDF5 are read too (`fusion.formats.hdf5`). What a file is, is told from its content.

Scores and trials are matched by the pair of ids, never by the number of the line
(`fusion.formats.matching`).
"""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

from fusion.formats.layouts import Chosen
from fusion.formats.matching import align, same_order
from fusion.formats.parsing import Paths, read_pairs
from fusion.formats.records import Growing, Interner, Origin
from fusion.formats.tables import Scores, Trials
from ivector.base.errors import DataError
from ivector.base.files import atomic_write

HDF5_SUFFIXES = (".h5", ".hdf5")
__all__ = [
    "HDF5_SUFFIXES", "align", "read_scores", "read_trials", "same_order", "write_scores",
    "write_trial_scores",
]  # fmt: skip
_WRITE_LINES = 1 << 16


def read_scores(paths: Paths, score_column: str = "auto", label_column: str = "auto") -> Scores:
    r"""Read a score file, or several as one.

    Parameters
    ----------
    paths : path-like or sequence of path-like
    score_column : str
        Where the score stands: "first", "last", or in a file with a header the name of a column.
        "auto" goes by the header; without one it takes the column of numbers; if ids are numbers
        too, the one whose numbers have a decimal point or an exponent.
    label_column : str
        Name of the column of labels, in a file with a header that has several.

    Raises
    ------
    DataError
        A file is missing, empty, not UTF-8 text, or a line has not the columns of the others with
        a finite score; or several columns could be the same thing.
    UsageError
        A column is named that a file has not.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_scores
    >>> _ = Path("scores").write_text("spk1 utt1 2.5\nspk1 utt2 -1.0\n")
    >>> scores = read_scores("scores")
    >>> scores.values.tolist(), [scores.test_ids[k] for k in scores.test]
    ([2.5, -1.0], ['utt1', 'utt2'])
    """
    scores = read_pairs(paths, True, Chosen(score_column, label_column))
    assert isinstance(scores, Scores)
    return scores


def read_trials(paths: Paths, label_column: str = "auto") -> Trials:
    r"""Read a trial list, or several as one.

    Parameters
    ----------
    paths : path-like or sequence of path-like
    label_column : str
        Name of the column of labels, in a file with a header that has several.

    Raises
    ------
    DataError
        A file is missing, empty, not UTF-8 text, or a line is not a trial; or several columns
        could be the same thing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_trials
    >>> _ = Path("trials").write_text("spk1 utt1 target\nspk1 utt2 nontarget\n")
    >>> trials = read_trials("trials")
    >>> trials.labels.tolist(), trials.enrol_ids, trials.test_ids
    ([1, 0], ['spk1'], ['utt1', 'utt2'])
    """
    trials = read_pairs(paths, False, Chosen(label=label_column))
    assert isinstance(trials, Trials)
    return trials


def write_trial_scores(path: str | os.PathLike, trials: Trials, values: ArrayLike) -> None:
    r"""Write the scores (n_trials,) of a trial list, by `write_scores`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion.formats import read_trials, write_trial_scores
    >>> _ = Path("trials").write_text("spk1 utt1 target\nspk1 utt2 nontarget\n")
    >>> write_trial_scores("scores", read_trials("trials"), [2.5, -1.0])
    >>> print(Path("scores").read_text(), end="")
    spk1 utt1 2.5
    spk1 utt2 -1.0
    """
    enrol = (trials.enrol_ids[i] for i in trials.enrol)
    test = (trials.test_ids[j] for j in trials.test)
    write_scores(path, enrol, test, np.asarray(values, np.float64))


def write_scores(
    path: str | os.PathLike,
    enrol: Iterable[str],
    test: Iterable[str],
    scores: Iterable[float],
    decimals: int | None = None,
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
    decimals : int, optional
        Digits after the point, which may make one of two scores; by default as few digits as
        give the same number when read.
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


def _lines(
    path: str | os.PathLike, block: list[tuple[str, str, float]], decimals: int | None
) -> bytes:
    for name in {name for row in block for name in row[:2]}:
        if name.split() != [name]:
            raise DataError(f"{path}: the id {name!r} is empty or has a blank; rename it")
    if not np.isfinite([row[2] for row in block]).all():
        enrol, test, score = next(row for row in block if not np.isfinite(row[2]))
        raise DataError(f"{path}: the score of '{enrol} {test}' is {score}; it must be finite")
    number = "%s" if decimals is None else f"%.{decimals}f"
    text = f"%s %s {number}\n" * len(block) % tuple(itertools.chain.from_iterable(block))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: an id cannot be written as UTF-8: {error.reason}") from None
