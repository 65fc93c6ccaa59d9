"""Score files and trial lists as arrays: lines to cells, ids to numbers, scores and labels parsed.

Every block of a file is read by plain code, or if the file is large by the kernels of
`fusion.formats.kernels`, which leave to that code whatever is not plain.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from fusion.formats.headers import cells_of
from fusion.formats.identities import Ids, Late
from fusion.formats.layouts import (
    AS_FOUND,
    DECIMAL_COMMA,
    LABELS,
    LARGEST,
    NUMBER,
    POINT,
    SCORE_LINE,
    SCORE_PLACES,
    TRIAL_LINE,
    UNKNOWN,
    Chosen,
    Layout,
    comma_hint,
    guess_delimiter,
    label_first,
    labelled_scores,
    named_layout,
    read_header,
    score_first,
)
from fusion.formats.records import Block, Growing, Interner, Origin, Report, refuse, whole_lines
from fusion.formats.tables import Scores, Trials
from ivector.base.errors import DataError, UsageError
from ivector.base.foreign.opening import readable

Paths = str | os.PathLike | Sequence[str | os.PathLike]
FAST_BYTES = 1 << 22  # below, loading the kernels takes longer than they save
_LOOK_LINES = 10_000
_BLANK = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c"))  # what bytes.split() takes for blank
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def read_pairs(
    paths: Paths, scores: bool, columns: Chosen = AS_FOUND, report: Report = refuse
) -> Scores | Trials:
    """Read files of pairs of ids with one score or label each."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise UsageError("no files to read were given")
    sides, origin, words = (Ids(), Ids()), Origin(), _Labels()
    values = Growing(np.dtype("f8" if scores else "i1"))
    beside = Late(np.dtype("i1"), UNKNOWN)
    row = 0
    for path in given:
        origin.start_file(path, row)
        if is_hdf5(path):
            from fusion.formats.hdf5 import read_cells

            names, codes, found = read_cells(path, scores, report)
            for side, ids, code in zip(sides, names, codes):
                side.extend_codes(ids, code)
            values.extend(found)
            row += len(found)
            continue
        for block, layout in _read_blocks(path, scores, columns, report):
            sides[0].extend(block, layout.enrol, layout.enrol_side)
            sides[1].extend(block, layout.test, layout.test_side)
            parse = parse_scores if scores else words.parse
            values.extend(parse(path, block, layout.value, report))
            if layout.label >= 0:
                beside.extend(row, words.parse(path, block, layout.label, report))
            origin.add(block.first, block.lines)
            row += len(block)
    return _table(sides, values.done(), beside.done(row), origin)


def _table(
    sides: tuple[Ids, Ids], values: np.ndarray, labels: np.ndarray | None, origin: Origin
) -> Scores | Trials:
    (enrol, enrol_ids, enrol_sided), (test, test_ids, test_sided) = (
        side.done(origin.name) for side in sides
    )
    if values.dtype == np.int8:
        return Trials(
            enrol, test, values, enrol_ids, test_ids, origin, enrol_sided, test_sided
        )  # fmt: skip
    return Scores(
        enrol, test, values, enrol_ids, test_ids, origin, labels, enrol_sided, test_sided
    )  # fmt: skip


def is_hdf5(path: str | os.PathLike) -> bool:
    """Whether a file's first bytes are those of HDF5."""
    try:
        with open(readable(path), "rb") as file:
            return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_blocks(
    path: str | os.PathLike, scores: bool, columns: Chosen, report: Report
) -> Iterator[tuple[Block, Layout]]:
    """Read a text file, gzipped or not, as blocks of records; each with the file's layout.

    LF and CRLF ends, tabs, repeated blanks, empty lines and a byte-order mark are tolerated.
    """
    expected = SCORE_LINE if scores else TRIAL_LINE
    layout: Layout | None = None
    fast, any_rows = _is_large(path), False
    for first, n_lines, data in whole_lines(path, report):
        text = data
        if layout is None:
            skipped, start = blank_start(data)
            if start == len(data):
                continue
            layout = find_layout(path, first + skipped, data[start:], scores, columns)
            if layout.header:
                end = data.find(b"\n", start) + 1
                first, text = first + skipped + 1, data[end:] if end else b""
        block = _split_fast(text, first, layout, n_lines) if fast else None
        if block is None:
            block = _split(path, text, first, layout, expected, report)
        if len(block):
            any_rows = True
            yield block, layout
    if layout is None:
        raise DataError(f"{path}: is empty; expected lines '{expected}'")
    if not any_rows and layout.header:
        raise DataError(f"{path}: has a header and no lines")


def _is_large(path: str | os.PathLike) -> bool:
    """Whether a file is worth the kernels; what is packed is several times as large."""
    try:
        n_bytes = os.path.getsize(readable(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return n_bytes * (4 if os.fspath(path).endswith(".gz") else 1) >= FAST_BYTES


def blank_start(data: bytes) -> tuple[int, int]:
    """Lines of blanks that a text begins with, and where the first other line starts."""
    stripped = data.lstrip()
    blanks = data[: len(data) - len(stripped)]
    return blanks.count(b"\n"), blanks.rfind(b"\n") + 1 if stripped else len(data)


def find_layout(
    path: str | os.PathLike, number: int, data: bytes, scores: bool, columns: Chosen
) -> Layout:
    """Layout of a file by a text that starts with its first record, which is line `number`."""
    line, _, rest = data.partition(b"\n")
    text = line.decode("utf-8")
    header = read_header(text)
    if header:
        rows = look(rest, header.delimiter, header.width)
        return named_layout(path, number, header, rows, scores, columns)
    if scores and columns.score not in ("auto", *SCORE_PLACES):
        raise UsageError(
            f"{path}: has no header with a column {columns.score!r}, which `score_column` names; "
            "without one it takes first or last"
        )
    delimiter = guess_delimiter(text)
    widths = (3, 4) if scores else (3, 2, 4)
    try:
        width = len(cells_of(text, delimiter))
    except ValueError:
        width = widths[0]
    width = width if width in widths else widths[0]
    if width == 2:
        return Layout(delimiter, False, 2, 0, 1)
    rows = look(data, delimiter, width)
    if width == 4:
        score, label = labelled_scores(path, number, rows, delimiter)
        value, label = (score, label) if scores else (label, -1)
        return Layout(delimiter, False, 4, 0, 1, value, label)
    if scores and columns.score != "auto":
        value_first = columns.score == "first"
    else:
        tell = score_first if scores else label_first
        value_first = not rows or tell(path, number, *([row[i] for row in rows] for i in (0, 2)))
    where = (1, 2, 0) if value_first else (0, 1, 2)
    return Layout(delimiter, False, width, *where)


def look(data: bytes, delimiter: str, width: int) -> list[list[bytes]]:
    """Cells of the first records of a text, without those that have another number of them."""
    rows = []
    for line in data.split(b"\n", _LOOK_LINES)[:_LOOK_LINES]:
        if not delimiter and b'"' not in line:
            cells = line.split()
        else:
            try:
                cells = [c.encode("utf-8") for c in cells_of(line.decode("utf-8"), delimiter)]
            except ValueError:
                continue
        if len(cells) == width:
            rows.append(cells)
    return rows


def _split_fast(data: bytes, first: int, layout: Layout, n_lines: int) -> Block | None:
    """Block by the kernel, or None if it has anything unusual."""
    from fusion.formats.kernels import split_cells, split_words

    if not layout.delimiter and b'"' in data:
        return None
    wanted = np.array(layout.wanted)
    text = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", np.uint8)
    n = n_lines + 1
    starts, ends = np.empty((2, len(wanted), n), np.int64)
    lines = np.empty(n, np.int64)
    if layout.delimiter:
        mark = ord(layout.delimiter)
        n = split_cells(text, mark, layout.width, wanted, starts, ends, lines)
    else:
        n = split_words(text, layout.width, wanted, starts, ends, lines)
    if n < 0:
        return None
    places = {column: (starts[i, :n], ends[i, :n]) for i, column in enumerate(layout.wanted)}
    return Block(first, lines[:n], None, text, places)


def _split(
    path: str | os.PathLike,
    data: bytes,
    first: int,
    layout: Layout,
    expected: str,
    report: Report,
) -> Block:
    """Block by plain code; lines with another number of cells are reported and left out."""
    if not layout.delimiter and b'"' not in data:
        counts = _words_per_line(data)
        if ((counts == layout.width) | (counts == 0)).all():
            words = data.split()
            tokens = {column: words[column :: layout.width] for column in layout.wanted}
            return Block(first, np.flatnonzero(counts), tokens)
    rows: list[list[bytes]] = []
    lines: list[int] = []
    for n, line in enumerate(data.split(b"\n")):
        cells: list[bytes]
        if line.isspace() or not line:
            continue
        if b'"' not in line:
            # Without a delimiter, None splits at blanks.
            cells = [cell.strip() for cell in line.split(layout.delimiter.encode() or None)]
        else:
            try:
                cells = [
                    c.encode("utf-8") for c in cells_of(line.decode("utf-8"), layout.delimiter)
                ]
            except ValueError as error:
                report(path, first + n, str(error))
                continue
        if len(cells) == layout.width and b"" not in cells:
            rows.append(cells)
            lines.append(n)
        elif cells:
            problem = _wrong_cells(line, cells, layout, expected)
            if problem:
                report(path, first + n, problem)
            else:
                rows.append(cells)
                lines.append(n)
    columns = list(zip(*rows)) or [()] * layout.width
    tokens = {column: list(columns[column]) for column in layout.wanted}
    return Block(first, np.array(lines, np.int64), tokens)


def _words_per_line(data: bytes) -> np.ndarray:
    """Count the words of every line, a last one without an end included."""
    codes = np.frombuffer(data + b"\n", np.uint8)
    blank = _BLANK[codes]
    starts = ~blank
    starts[1:] &= blank[:-1]
    ends = np.flatnonzero(codes == ord("\n"))
    return np.add.reduceat(starts, np.concatenate([[0], ends[:-1] + 1]), dtype=np.int32)


def _wrong_cells(line: bytes, cells: list[bytes], layout: Layout, expected: str) -> str:
    """What is wrong with the cells of a line; "" if an empty one is not needed."""
    text = line.decode("utf-8").strip()
    if len(cells) != layout.width:
        form = "as in the header" if layout.header else f"'{expected}'"
        other = guess_delimiter(text) if not layout.delimiter else ""
        mixed = "; it is delimited otherwise than the first line" if (
            other or (layout.delimiter and layout.delimiter not in text)
        ) else ""  # fmt: skip
        hint = comma_hint(cells, layout) or mixed
        return f"expected {layout.width} columns {form}, found {len(cells)} in {text[:60]!r}{hint}"
    empty = [layout.roles[column] for column in layout.wanted if not cells[column]]
    return f"the {empty[0]} is empty in {text[:60]!r}" if empty else ""


def parse_scores(
    path: str | os.PathLike, block: Block, column: int, report: Report = refuse
) -> np.ndarray:
    """Scores (n_records,) float64 of a block; what is reported and goes on is NaN or as it is."""
    values = _parsed(path, block, column, report)
    for row in np.flatnonzero(np.isfinite(values) & (np.abs(values) > LARGEST)):
        message = f"the score {values[row]:g} is impossibly large; mend the scoring"
        report(path, block.line(int(row)), message, "large")
    return values


def _parsed(
    path: str | os.PathLike, block: Block, column: int, report: Report = refuse
) -> np.ndarray:
    if block.tokens is None:
        from fusion.formats.kernels import parse_numbers

        assert block.text is not None and block.places is not None
        values, hard = np.empty(len(block)), np.empty(len(block), np.int64)
        hard = hard[: parse_numbers(block.text, *block.places[column], values, hard)]
        tokens = block.cells(column, hard) if len(hard) else []
        values[hard] = _floats(path, block, hard, tokens, report)
        return values
    return _floats(path, block, np.arange(len(block)), block.tokens[column], report)


def _floats(
    path: str | os.PathLike, block: Block, rows: np.ndarray, tokens: list[bytes], report: Report
) -> np.ndarray:
    """Numbers (n,) of some cells, which stand in some rows of a block."""
    try:
        values = np.fromiter(map(float, tokens), np.float64, len(tokens))
        # float() takes '1_000', which no other program writes or reads as a number.
        if np.isfinite(values).all() and b"_" not in b" ".join(tokens):
            return values
    except ValueError:
        pass
    values = np.full(len(tokens), np.nan)
    for i, (row, token) in enumerate(zip(rows, tokens)):
        text = token[:40].decode("utf-8", "replace")
        if not NUMBER.match(token):
            message = f"the score {text!r} is not a number"
            if DECIMAL_COMMA.match(token):
                message = f"the score {text!r} has a decimal comma; {POINT}"
            report(path, block.line(int(row)), message, "number")
            continue
        values[i] = float(token)
        if not np.isfinite(values[i]):
            report(path, block.line(int(row)), f"the score {text!r} is not finite", "finite")
    return values


class _Labels:
    """Labels of trials; words are looked up once, not by line."""

    def __init__(self) -> None:
        self._words = Interner()
        self._meanings: list[int] = []  # 2 for a word that is none

    def parse(
        self, path: str | os.PathLike, block: Block, column: int, report: Report = refuse
    ) -> np.ndarray:
        """Labels (n_records,) int8 of a block; what is reported and goes on is unknown."""
        if column < 0:
            return np.full(len(block), UNKNOWN, np.int8)
        codes = block.codes(column, self._words)
        new = self._words.ids(len(self._meanings))
        self._meanings += [LABELS.get(word.casefold(), 2) for word in new]
        labels = np.array(self._meanings, np.int8)[codes]
        for row in np.flatnonzero(labels == 2):
            (token,) = block.cells(column, np.array([row]))
            text = token[:40].decode("utf-8", "replace")
            report(
                path,
                block.line(int(row)),
                f"label {text!r}, expected one of target, nontarget, 1, 0, -1",
                "label",
            )
        labels[labels == 2] = UNKNOWN
        return labels
