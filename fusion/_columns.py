"""Which column is what in a score file or trial list, and its tokens as numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusion._records import Block, Interner, Origin, read_blocks
from ivector.base.errors import DataError, UsageError

TARGET, NONTARGET, UNKNOWN = 1, 0, -1
_LABELS = {b"target": TARGET, b"nontarget": NONTARGET}
_DIGIT_LABELS = {b"1": TARGET, b"0": NONTARGET, b"-1": UNKNOWN}
_NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf(?:inity)?)\Z", re.I)
SCORE_LINE = "enrol test score' or 'score enrol test"
TRIAL_LINE = "enrol test target|nontarget' or '1|0 enrol test"
_LOOK = 10_000  # records looked at to tell the columns apart
Paths = str | os.PathLike | Sequence[str | os.PathLike]


def read_pairs(
    paths: Paths,
    n_columns: Sequence[int],
    expected: str,
    layout: Callable[[str | os.PathLike, Block], tuple[int, int, int]],
    parse: Callable[[str | os.PathLike, Block, int], np.ndarray],
    dtype: np.dtype,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], list[str], Origin]:
    """Read files of pairs of ids with one value each; `layout` gives the three columns."""
    enrol, test, origin = Interner(), Interner(), Origin()
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    row = 0
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        origin.start_file(path, row)
        columns = None
        for block in read_blocks(path, n_columns, expected):
            columns = columns or layout(path, block)
            value = parse(path, block, columns[2])
            parts.append(
                (enrol.codes(block.column(columns[0])), test.codes(block.column(columns[1])), value)
            )
            origin.add(block.lines)
            row += len(block)
    if not parts:
        raise UsageError("no files to read were given")
    joined = [np.concatenate(arrays) for arrays in zip(*parts)]
    return joined[0], joined[1], joined[2].astype(dtype), enrol.ids(), test.ids(), origin


def score_first(path: str | os.PathLike, block: Block) -> bool:
    """Whether the first column holds the scores, and not the last."""
    outer = [block.column(i)[:_LOOK] for i in (0, 2)]
    is_number = [_mostly(_NUMBER.match, tokens) for tokens in outer]
    if is_number[0] != is_number[1]:
        return is_number[0]
    where = f"{path}, line {block.lines[0]}"
    if not is_number[0]:
        raise DataError(
            f"{where}: neither the first nor the last column is a number; expected '{SCORE_LINE}'"
        )
    is_real = [_mostly(re.compile(rb"[.eEnN]").search, tokens) for tokens in outer]
    if is_real[0] == is_real[1]:
        raise DataError(
            f"{where}: both the first and the last column could be scores; say which is, with "
            f"--score-column first or last (score_column= in Python)"
        )
    return is_real[0]


def _mostly(test: Callable[[bytes], Any], tokens: list[bytes]) -> bool:
    """Whether half of the tokens or more pass, so that one bad line does not mislead."""
    return 2 * sum(1 for token in tokens if test(token)) >= len(tokens)


def label_first(path: str | os.PathLike, block: Block) -> bool:
    """Whether the first column holds the labels, and not the last."""
    first, last = (block.column(i)[:_LOOK] for i in (0, 2))
    if _mostly(_LABELS.__contains__, last):
        return False
    is_label = [_mostly(_DIGIT_LABELS.__contains__, tokens) for tokens in (first, last)]
    if is_label[0] == is_label[1]:
        both = "both the first and the last" if is_label[0] else "neither the first nor the last"
        raise DataError(
            f"{path}, line {block.lines[0]}: {both} column could be the label; write the list as "
            "'enrol test target|nontarget'"
        )
    return is_label[0]


def parse_scores(path: str | os.PathLike, block: Block, column: int) -> np.ndarray:
    tokens = block.column(column)
    try:
        values = np.fromiter(map(float, tokens), np.float64, len(tokens))
        # float() takes '1_000', which no other program writes or reads as a number.
        good = bool(np.isfinite(values).all()) and b"_" not in b" ".join(tokens)
    except ValueError:
        good = False
    if good:
        return values
    for line, token in zip(block.lines, tokens):
        text = token[:40].decode("utf-8", "replace")
        if not _NUMBER.match(token):
            raise DataError(f"{path}, line {line}: the score {text!r} is not a number")
        if not np.isfinite(float(token)):
            raise DataError(f"{path}, line {line}: the score {text!r} is not finite")
    raise AssertionError("unreachable: a bad score was seen but not found")


def parse_labels(path: str | os.PathLike, block: Block, column: int) -> np.ndarray:
    if column < 0:
        return np.full(len(block), UNKNOWN, np.int8)
    tokens = block.column(column)
    table = _LABELS if tokens[0] in _LABELS else _DIGIT_LABELS
    try:
        return np.fromiter(map(table.__getitem__, tokens), np.int8, len(tokens))
    except KeyError:
        line, token = next(
            (line, token) for line, token in zip(block.lines, tokens) if token not in table
        )
        text = token[:40].decode("utf-8", "replace")
        known = ", ".join(label.decode() for label in {**_LABELS, **table})
        raise DataError(f"{path}, line {line}: label {text!r}, expected one of {known}") from None
