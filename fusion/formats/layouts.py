"""Which delimiter and which columns a score file or a trial list has, told from its content."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fusion.formats.headers import ENROL, LABEL, SCORE, TEST, cells_of, find, sniff
from ivector.base.errors import DataError

TARGET, NONTARGET, UNKNOWN = 1, 0, -1
_WORDS = {
    **dict.fromkeys("target tgt tar true same genuine".split(), TARGET),
    **dict.fromkeys("nontarget non non-target imp impostor imposter false different".split(), 0),
    **dict.fromkeys("unknown unk".split(), UNKNOWN),
}
_DIGITS = {"1": TARGET, "0": NONTARGET, "-1": UNKNOWN, "+1": TARGET}
LABELS = {**_WORDS, **_DIGITS}
NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf(?:inity)?)\Z", re.I)
_REAL = re.compile(rb"[.eEnN]")
LARGEST = 1e50  # of scores: no system's are, and what is computed of them would overflow
SCORE_LINE = "enrol test score' or 'score enrol test"
TRIAL_LINE = "enrol test target|nontarget' or '1|0 enrol test"
_LOOK = 10_000  # records looked at to tell the columns apart


@dataclass(frozen=True)
class Layout:
    """Form of a file.

    Parameters
    ----------
    delimiter : str
        One character, or "" for blanks.
    header : bool
        Whether the first line names the columns.
    width : int
        Cells in a line.
    enrol, test, value : int
        Positions of the ids and of the score or label; `value` is -1 if there is none.
    names : list of str
        The header, if there is one.
    """

    delimiter: str
    header: bool
    width: int
    enrol: int = -1
    test: int = -1
    value: int = -1
    names: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[int]:
        """Positions that are read, ascending."""
        return sorted({self.enrol, self.test, self.value} - {-1})


def read_header(line: str) -> Layout | None:
    """Layout by the names in a first line, without the value's column; None if it has no names."""
    for mark in dict.fromkeys((sniff(line), "")):
        try:
            names = cells_of(line, mark)
        except ValueError:
            continue
        enrol, test = find(names, ENROL), find(names, TEST)
        if min(enrol, test) >= 0 and (mark or not is_label(names[-1])):
            return Layout(mark, True, len(names), enrol, test, names=tuple(names))
    return None


def guess_delimiter(line: str) -> str:
    """Delimiter of a file without a header by its first line."""
    words = line.split()
    for mark in ",;":
        if (len(words) == 1 and mark in line) or (
            len(words) > 1 and all(word.endswith(mark) for word in words[:-1])
        ):
            return mark
    return ""


def is_label(word: str) -> bool:
    """Whether a word is a label, other than a digit."""
    return word.casefold() in _WORDS


def score_first(path: str | os.PathLike, line: int, first: list[bytes], last: list[bytes]) -> bool:
    """Whether the first of three columns holds the scores, and not the last."""
    outer = first[:_LOOK], last[:_LOOK]
    is_number = [_mostly(NUMBER.match, tokens) for tokens in outer]
    if is_number[0] != is_number[1]:
        return is_number[0]
    where = f"{path}, line {line}"
    if not is_number[0]:
        raise DataError(
            f"{where}: neither the first nor the last column is a number; expected '{SCORE_LINE}'"
        )
    is_real = [_mostly(_REAL.search, tokens) for tokens in outer]
    if is_real[0] == is_real[1]:
        raise DataError(
            f"{where}: both the first and the last column could be scores; say which is, with "
            f"--score-column first or last (score_column= in Python)"
        )
    return is_real[0]


def label_first(path: str | os.PathLike, line: int, first: list[bytes], last: list[bytes]) -> bool:
    """Whether the first of three columns holds the labels, and not the last."""
    first, last = first[:_LOOK], last[:_LOOK]
    words = [_mostly(_is_in(_WORDS), tokens) for tokens in (first, last)]
    if words[0] != words[1]:
        return words[0]
    is_one = [_mostly(_is_in(_DIGITS), tokens) for tokens in (first, last)]
    if is_one[0] == is_one[1]:
        both = "both the first and the last" if is_one[0] else "neither the first nor the last"
        raise DataError(
            f"{path}, line {line}: {both} column could be the label; write the list as "
            "'enrol test target|nontarget'"
        )
    return is_one[0]


def labelled_scores(
    path: str | os.PathLike, line: int, third: list[bytes], fourth: list[bytes]
) -> tuple[int, int]:
    """Columns of score and label in lines that have both, behind the ids.

    WeSpeaker writes ``enrol test score target|nontarget``, SpeechBrain ``enrol test 1|0 score``.
    """
    columns = {2: third[:_LOOK], 3: fourth[:_LOOK]}
    labels = [n for n, tokens in columns.items() if _mostly(_is_in(LABELS), tokens, 0.95)]
    if len(labels) == 2:  # scores that are all 0 or 1: labels have no decimals
        labels = [n for n in labels if not _mostly(_REAL.search, columns[n])]
    if len(labels) != 1 or not _mostly(NUMBER.match, columns[5 - labels[0]]):
        raise DataError(
            f"{path}, line {line}: of 4 columns, 'enrol test score target|nontarget' or "
            "'enrol test 1|0 score' are expected"
        )
    return 5 - labels[0], labels[0]


def looks_like_trials(rows: list[list[bytes]]) -> bool:
    """Whether rows of cells without a header are trials and not scores."""
    if len(rows[0]) == 2:
        return True
    first, last = ([row[i] for row in rows] for i in (0, -1))
    if any(_mostly(_is_in(_WORDS), tokens) for tokens in (first, last)):
        return True
    # Scores may be whole numbers, and some of them -1, 0 and 1; labels are nothing else.
    return any(_mostly(_is_in(_DIGITS), tokens, 0.95) for tokens in (first, last)) and not any(
        _mostly(lambda token: NUMBER.match(token) and _REAL.search(token), tokens)
        for tokens in (first, last)
    )


def named_value(path: str | os.PathLike, number: int, layout: Layout, scores: bool) -> int:
    """Position of the column of scores or labels by its name; -1 for trials without labels."""
    value = find(list(layout.names), SCORE if scores else LABEL)
    if scores and value < 0:
        raise DataError(
            f"{path}, line {number}: the header names no column of scores, such as 'score' or "
            f"'LLR'; found {', '.join(layout.names)[:80]!r}"
        )
    return value


def _is_in(table: dict[str, int]) -> Callable[[bytes], bool]:
    return lambda token: token.decode("utf-8").casefold() in table


def _mostly(test: Callable[[bytes], Any], tokens: list[bytes], share: float = 0.5) -> bool:
    """Whether half of the tokens or more pass, so that one bad line does not mislead."""
    return sum(1 for token in tokens if test(token)) >= share * len(tokens)
