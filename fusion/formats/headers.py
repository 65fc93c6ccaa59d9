"""Tables with a header line: which delimiter they have, and which column is what, by its name."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

from ivector.base.errors import DataError

BLANKS = " \t\n\r\x0b\x0c"  # what bytes.split() takes for blank
# What other toolkits and evaluations call the columns, without case, blanks and punctuation.
# "targettype" and "LLR" are of NIST's key and output files (SRE18, 19, 21).
ENROL = frozenset(
    "enrol enroll enrolment enrollment enrolid enrollid enrolmentid enrollmentid model modelid "
    "modelname modelset id1 utt1 file1 path1 audio1 wav1 utterance1".split()
)
TEST = frozenset(
    "test testid testsegment testutterance testutt segment segmentid segmentname seg segid probe "
    "probeid id2 utt2 file2 path2 audio2 wav2 utterance2".split()
)
SCORE = frozenset("score scores llr loglikelihoodratio logratio similarity".split())
LABEL = frozenset(
    "label labels key target istarget targettype trialtype truth groundtruth gt same samespeaker "
    "issame class".split()
)
# The channel of a recording: two people speak on the two sides of a telephone call.
ENROL_SIDE = frozenset(
    "side1 channel1 modelside modelchannel enrolside enrollside enrolmentside enrollmentside "
    "enrolchannel enrollchannel".split()
)
TEST_SIDE = frozenset(
    "side side2 channel channel2 channelid chan testside testchannel segmentside segmentchannel "
    "segside segchannel".split()
)
RECORDING = frozenset(
    "id utt uttid utterance utteranceid recording recordingid file fileid filename path audio wav "
    "segment segmentid seg segid sample sampleid".split()
)

_TO_SPACE = dict.fromkeys(map(ord, BLANKS), " ")


def plain(name: str) -> str:
    """Name of a column as it is compared: letters and digits in lower case."""
    return "".join(c for c in name.casefold() if c.isalnum())


def sniff(line: str) -> str:
    """Delimiter of a line: tab, semicolon or comma, or "" for blanks."""
    if "\t" in line:
        return "\t"
    counts = [(line.count(mark), mark) for mark in ";,"]
    most, mark = max(counts)
    return mark if most else ""


def cells_of(line: str, delimiter: str) -> list[str]:
    """Cells of a line, stripped; quotes as in RFC 4180 (but within one line).

    Between blanks, too, a cell may be quoted, as R writes tables; a quote within a cell is a
    character like others.

    Raises
    ------
    ValueError
        A quote is not closed, or a cell is enormous.
    """
    if '"' not in line:
        if not delimiter:  # not line.split(), which takes more for blank than bytes.split()
            return [cell.decode("utf-8") for cell in line.encode("utf-8").split()]
        return [cell.strip(BLANKS) for cell in line.split(delimiter)]
    try:
        if not delimiter:
            (cells,) = csv.reader([line.translate(_TO_SPACE)], delimiter=" ", strict=True)
            return [cell.strip(BLANKS) for cell in cells if cell]
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(f"a quoted cell is damaged: {error}") from None
    return [cell.strip(BLANKS) for cell in cells]


def split_line(path: str | os.PathLike, number: int, line: str, delimiter: str) -> list[str]:
    """Cells of a line as `cells_of`, with a DataError for damage."""
    try:
        return cells_of(line, delimiter)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: {error}") from None


def find(names: Sequence[str], role: frozenset[str]) -> int:
    """Position of the first column of a role, -1 if there is none."""
    return next((n for n, name in enumerate(names) if plain(name) in role), -1)


def of_role(names: Sequence[str], role: frozenset[str]) -> list[int]:
    """Positions of the columns of a role."""
    return [n for n, name in enumerate(names) if plain(name) in role]


def the_only(where: str, names: Sequence[str], columns: Sequence[int], what: str, cure: str) -> int:
    """The one column of some that could be it, -1 if there is none.

    Raises
    ------
    DataError
        There are several.
    """
    if len(columns) > 1:
        listed = " and ".join(repr(names[n]) for n in columns)
        raise DataError(f"{where}: {len(columns)} columns could be the {what}, {listed}; {cure}")
    return columns[0] if columns else -1


def named(where: str, names: Sequence[str], wanted: str, option: str) -> int:
    """Position of the column that an option names; case and punctuation matter if they must.

    Raises
    ------
    DataError
        There is no such column, or several.
    """
    found = [n for n, name in enumerate(names) if name == wanted]
    found = found or [n for n, name in enumerate(names) if plain(name) == plain(wanted)]
    if not found:
        raise DataError(
            f"{where}: has no column {wanted!r}, which `{option}` names; there are "
            f"{', '.join(names)[:80]}"
        )
    return the_only(where, names, found, f"{wanted!r} of `{option}`", "rename one")
