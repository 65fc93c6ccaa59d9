"""Which delimiter and which columns a score file or a trial list has, told from its content."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fusion.formats.headers import (
    ENROL,
    ENROL_SIDE,
    LABEL,
    SCORE,
    TEST,
    TEST_SIDE,
    cells_of,
    find,
    named,
    of_role,
    plain,
    sniff,
    the_only,
)
from ivector.base.errors import DataError, UsageError

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
DECIMAL_COMMA = re.compile(rb"[+-]?\d*,\d+(?:[eE][+-]?\d+)?\Z")
_BEFORE_COMMA = re.compile(rb"[+-]?\d*\Z")
_AFTER_COMMA = re.compile(rb"\d+(?:[eE][+-]?\d+)?\Z")
POINT = "write scores with a decimal point"
LARGEST = 1e50  # of scores: no system's are, and what is computed of them would overflow
SCORE_LINE = "enrol test score' or 'score enrol test"
TRIAL_LINE = "enrol test target|nontarget' or '1|0 enrol test"
SCORE_PLACES = ("first", "last")
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
    label : int
        Position of a label beside a score, else -1.
    enrol_side, test_side : int
        Positions of the channels of the recordings, else -1.
    names : list of str
        The header, if there is one.
    """

    delimiter: str
    header: bool
    width: int
    enrol: int = -1
    test: int = -1
    value: int = -1
    label: int = -1
    enrol_side: int = -1
    test_side: int = -1
    names: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[int]:
        """Positions that are read, ascending."""
        return sorted(set(self.roles) - {-1})

    @property
    def roles(self) -> dict[int, str]:
        """What each position that is read holds."""
        return {
            self.label: "label", self.enrol_side: "side", self.test_side: "side",
            self.value: "score or label", self.enrol: "enrolment id", self.test: "test id",
        }  # fmt: skip


class Chosen(NamedTuple):
    """Columns as the user chose them: a name, or ``auto``; of scores ``first`` or ``last``, too."""

    score: str = "auto"
    label: str = "auto"


AS_FOUND = Chosen()


def read_header(line: str) -> Layout | None:
    """Delimiter and names of a first line; None if it does not name both ids.

    Which column is what, `named_layout` says, which refuses what is not clear.
    """
    for mark in dict.fromkeys((sniff(line), "")):
        try:
            names = cells_of(line, mark)
        except ValueError:
            continue
        both = min(find(names, ENROL), find(names, TEST)) >= 0
        if both and (mark or not is_label(names[-1])):
            return Layout(mark, True, len(names), names=tuple(names))
    return None


def guess_delimiter(line: str) -> str:
    """Delimiter of a file without a header by its first line."""
    words = line.split()
    for mark in ",;" if line.count(",") > line.count(";") else ";,":
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
        if any(_mostly(DECIMAL_COMMA.match, tokens) for tokens in outer):
            raise DataError(f"{where}: the scores have a decimal comma; {POINT}")
        raise DataError(
            f"{where}: neither the first nor the last column is a number; expected '{SCORE_LINE}'"
        )
    is_real = [_mostly(_REAL.search, tokens) for tokens in outer]
    if is_real[0] == is_real[1]:
        raise DataError(
            f"{where}: both the first and the last column could be scores; say which is, "
            "with `score_column`: first or last"
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
    path: str | os.PathLike, line: int, rows: list[list[bytes]], delimiter: str
) -> tuple[int, int]:
    """Columns of score and label in lines that have both, behind the ids.

    WeSpeaker writes ``enrol test score target|nontarget``, SpeechBrain ``enrol test 1|0 score``.
    """
    where = f"{path}, line {line}"
    cells = [[row[n] for row in rows[:_LOOK]] for n in range(4)]
    if delimiter == "," and _halves(cells[2], cells[3]):
        raise DataError(
            f"{where}: the last two cells could be a score with a decimal comma, or a label and a "
            f"score; {POINT}, or give a header"
        )
    columns = {2: cells[2], 3: cells[3]}
    labels = [n for n, tokens in columns.items() if _mostly(_is_in(LABELS), tokens, 0.95)]
    if len(labels) == 2:  # scores that are all 0 or 1: labels have no decimals
        labels = [n for n in labels if not _mostly(_REAL.search, columns[n])]
    if len(labels) != 1 or not _mostly(NUMBER.match, columns[5 - labels[0]]):
        comma = delimiter == "," and _halves(cells[0], cells[1])
        comma = comma or any(_mostly(DECIMAL_COMMA.match, tokens) for tokens in cells)
        raise DataError(
            f"{where}: the scores have a decimal comma; {POINT}" if comma else
            f"{where}: of 4 columns, 'enrol test score target|nontarget' or "
            "'enrol test 1|0 score' are expected"
        )  # fmt: skip
    return 5 - labels[0], labels[0]


def _halves(whole: list[bytes], rest: list[bytes]) -> bool:
    """Whether two columns could be the digits before and after decimal commas."""
    return _mostly(_BEFORE_COMMA.match, whole) and _mostly(_AFTER_COMMA.match, rest)


def comma_hint(cells: list[bytes], layout: Layout) -> str:
    """That a line has too many cells for want of decimal points, if it looks so."""
    halves = itertools.pairwise(cells)
    if layout.delimiter == "," and len(cells) > layout.width and any(
        _BEFORE_COMMA.match(one) and _AFTER_COMMA.match(two) for one, two in halves
    ):  # fmt: skip
        return f"; is it a decimal comma? {POINT}"
    return ""


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


def named_layout(
    path: str | os.PathLike,
    line: int,
    header: Layout,
    rows: list[list[bytes]],
    scores: bool,
    columns: Chosen,
) -> Layout:
    """Which column of a file with a header is what, by its name or as the user chose.

    Parameters
    ----------
    path : path-like
    line : int
        Of the header.
    header : Layout
        As `read_header` gives it.
    rows : list of list of bytes
        The first records.
    scores : bool
        Whether scores are wanted, else the labels of trials.
    columns : Chosen

    Raises
    ------
    DataError
        Several columns could be the same thing, or none is the score.
    """
    where, names = f"{path}, line {line}", header.names

    def only(role: frozenset[str], what: str, cure: str = "rename one, or take it out") -> int:
        return the_only(where, names, of_role(names, role), what, cure)

    found = replace(
        header,
        enrol=only(ENROL, "enrolment id"),
        test=only(TEST, "test id"),
        enrol_side=only(ENROL_SIDE, "side of the enrolment"),
        test_side=only(TEST_SIDE, "side of the test"),
    )
    label = _label_column(where, found, rows, scores, columns.label)
    if not scores:
        return replace(found, value=label)
    if columns.score in SCORE_PLACES:
        value = 0 if columns.score == "first" else len(names) - 1
    elif columns.score != "auto":
        value = named(where, names, columns.score, "score_column")
    else:
        value = only(SCORE, "score", "choose one with `score_column`")
    if value < 0:
        raise DataError(
            f"{where}: the header names no column of scores, such as 'score' or 'LLR'; found "
            f"{', '.join(names)[:80]!r}; name it with `score_column`"
        )
    if value in (found.enrol, found.test):
        raise UsageError(f"{where}: `score_column` names {names[value]!r}, a column of ids")
    after = value + 1
    if header.delimiter == "," and names[after : after + 1] == ("",) and rows:
        if _halves([row[value] for row in rows], [row[after] for row in rows]):
            raise DataError(f"{where}: the scores have a decimal comma; {POINT}")
    return replace(found, value=value, label=-1 if label == value else label)


def _label_column(
    where: str, header: Layout, rows: list[list[bytes]], scores: bool, chosen: str
) -> int:
    """Position of the labels, -1 if there are none.

    Beside scores they are not needed: there a column without labels is not taken for one, and the
    column that is chosen for a trial list may be missing.
    """
    names = header.names
    known = [name for name in names if plain(name) == plain(chosen)]
    if chosen != "auto" and (known or not scores):
        return named(where, names, chosen, "label_column")
    could = of_role(names, LABEL)
    if scores:
        could = [n for n in could if rows and _mostly(_is_in(LABELS), [row[n] for row in rows])]
    return the_only(where, names, could, "label", "choose one with `label_column`")


def _is_in(table: dict[str, int]) -> Callable[[bytes], bool]:
    return lambda token: token.decode("utf-8").casefold() in table


def _mostly(test: Callable[[bytes], Any], tokens: list[bytes], share: float = 0.5) -> bool:
    """Whether half of the tokens or more pass, so that one bad line does not mislead."""
    return sum(1 for token in tokens if test(token)) >= share * len(tokens)
