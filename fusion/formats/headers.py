"""Tables with a header line: which delimiter they have, and which column is what, by its name."""

from __future__ import annotations

import csv
import os

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
RECORDING = frozenset(
    "id utt uttid utterance utteranceid recording recordingid file fileid filename path audio wav "
    "segment segmentid seg segid sample sampleid".split()
)


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

    Raises
    ------
    ValueError
        A quote is not closed, or a cell is enormous.
    """
    if not delimiter:
        return [cell.decode("utf-8") for cell in line.encode("utf-8").split()]
    if '"' not in line:
        return [cell.strip(BLANKS) for cell in line.split(delimiter)]
    try:
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


def find(names: list[str], role: frozenset[str]) -> int:
    """Position of the first column of a role, -1 if there is none."""
    return next((n for n, name in enumerate(names) if plain(name) in role), -1)
