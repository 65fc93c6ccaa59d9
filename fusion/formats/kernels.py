"""Kernels that split, number and parse the lines of score files, 2 MiB at a time.

They do the common case alone: lines of one number of columns, without quotes, with plain numbers.
What they leave to the readable code of `fusion.formats.parsing` they say, and never guess; so
whatever they return is what that code returns. All positions are in bytes of `data` (n_bytes,)
uint8.
"""

from __future__ import annotations

import numpy as np

from ivector.base.jit import njit

_LF, _QUOTE, _PLUS, _MINUS, _POINT, _ZERO, _NINE = 10, 34, 43, 45, 46, 48, 57
_IS_BLANK, _IS_END = 1, 2
_KINDS = np.zeros(256, np.uint8)
_KINDS[[9, 11, 12, 13, 32]] = _IS_BLANK  # what bytes.split() takes for blank
_KINDS[_LF] = _IS_END
_MOST = np.uint64(9 * 10**17)  # with a digit more it still fits into 63 bits
_EXACT = 22  # 10**22 is the last power of ten that is a float64
_MIX = np.uint64(0x9E3779B97F4A7C15)
_POWERS = 10.0 ** np.arange(_EXACT + 1)


@njit(cache=True)
def split_words(data, width, columns, starts, ends, lines):
    """Find some of the words of every line that is not blank.

    Parameters
    ----------
    data : ndarray (n_bytes,) uint8
        Ends with the end of a line.
    width : int
        Words that each line must have.
    columns : ndarray (n_wanted,) int64
        Ascending positions of the wanted words in a line.
    starts, ends : ndarray (n_wanted, n_lines) int64
        Filled with where the wanted words start and end.
    lines : ndarray (n_lines,) int64
        Filled with the number of each line, from 0.

    Returns
    -------
    int
        Lines found, or -1 if a line has another number of words.
    """
    # Positions without a sign need no look at whether they count from the end: four times as fast.
    one, last = np.uint64(1), np.uint64(len(data))
    position = np.uint64(0)
    row = line = 0
    while position < last:
        cell = wanted = 0
        while True:
            kind = _KINDS[data[position]]
            while kind == _IS_BLANK:
                position += one
                kind = _KINDS[data[position]]
            if kind == _IS_END:
                break
            start = position
            while _KINDS[data[position]] == 0:
                position += one
            if wanted < len(columns) and columns[wanted] == cell:
                starts[wanted, row], ends[wanted, row] = start, position
                wanted += 1
            cell += 1
        if cell:
            if cell != width:
                return -1
            lines[row] = line
            row += 1
        position += one
        line += 1
    return row


@njit(cache=True)
def split_cells(data, delimiter, width, columns, starts, ends, lines):
    """Find some of the cells of every line that is not blank, blanks about them left out.

    As `split_words`, but with the code of a delimiter.

    Returns
    -------
    int
        Lines found, or -1 if a line has a quote, another number of cells or an empty wanted cell.
    """
    one, last = np.uint64(1), np.uint64(len(data))
    position = np.uint64(0)
    row = line = 0
    while position < last:
        cell = wanted = 0
        empty, code = True, np.uint8(delimiter)
        while code == delimiter:
            code = data[position]
            while code != delimiter and _KINDS[code] == _IS_BLANK:
                position += one
                code = data[position]
            start = end = position
            while code != delimiter and code != _LF:
                if code == _QUOTE:
                    return -1
                position += one
                if _KINDS[code] == 0:
                    end = position
                code = data[position]
            empty = empty and end == start
            if wanted < len(columns) and columns[wanted] == cell:
                if end == start and (cell or code == delimiter):
                    return -1
                starts[wanted, row], ends[wanted, row] = start, end
                wanted += 1
            cell += 1
            position += one
        if not (empty and cell == 1):
            if cell != width:
                return -1
            lines[row] = line
            row += 1
        line += 1
    return row


@njit(cache=True, inline="always")
def _word(data, at):
    """Eight bytes as one number; compiles to one load."""
    word = np.uint64(data[at])
    for i in range(1, 8):
        word |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
    return word


@njit(cache=True, inline="always")
def _same(data, start, arena, base, top, size):
    """Whether `size` bytes of `data` from `start` are those of the arena from `base` to `top`."""
    if top - base != size:
        return False
    at, other, left = np.uint64(start), np.uint64(base), size
    while left >= 8:
        if _word(data, at) != _word(arena, other):
            return False
        at += np.uint64(8)
        other += np.uint64(8)
        left -= 8
    while left:
        if data[at] != arena[other]:
            return False
        at += np.uint64(1)
        other += np.uint64(1)
        left -= 1
    return True


@njit(cache=True)
def number_ids(data, starts, ends, first, table, hashes, arena, offsets, n_ids, codes):
    """Number ids in the order in which they are first met, by a hash table with open addressing.

    Parameters
    ----------
    data : ndarray (n_bytes,) uint8
    starts, ends : ndarray (n_rows,) int64
    first : int
        Row to begin with.
    table : ndarray (a power of 2,) int32
        Id in each slot, -1 for none.
    hashes : ndarray (capacity,) uint64
    arena : ndarray (n_arena,) uint8
        Bytes of all ids, one after another.
    offsets : ndarray (capacity + 1,) int64
        Where each id starts in the arena.
    n_ids : int
        Ids known already.
    codes : ndarray (n_rows,) int32
        Filled with the number of each row's id.

    Returns
    -------
    row, n_ids : int
        Row at which the tables became full, or the number of rows; and ids known then.
    """
    mask = np.uint64(len(table) - 1)
    known = np.int32(-1)
    for row in range(first, len(starts)):
        start, size = starts[row], ends[row] - starts[row]
        if known >= 0 and _same(data, start, arena, offsets[known], offsets[known + 1], size):
            codes[row] = known  # lists often go model by model
            continue
        mixed = np.uint64(size)
        at, end = np.uint64(start), np.uint64(start + size)
        while at + np.uint64(8) <= end:
            mixed = (mixed ^ _word(data, at)) * _MIX
            mixed ^= mixed >> np.uint64(32)
            at += np.uint64(8)
        while at < end:
            mixed = (mixed ^ np.uint64(data[at])) * _MIX
            at += np.uint64(1)
        mixed ^= mixed >> np.uint64(32)
        slot = mixed & mask
        while True:
            known = table[slot]
            if known < 0 or (
                hashes[known] == mixed
                and _same(data, start, arena, offsets[known], offsets[known + 1], size)
            ):
                break
            slot = (slot + np.uint64(1)) & mask
        if known < 0:
            base = offsets[n_ids]
            if n_ids == len(hashes) or base + size > len(arena):
                return row, n_ids
            for i in range(size):
                arena[base + i] = data[start + i]
            hashes[n_ids] = mixed
            offsets[n_ids + 1] = base + size
            known = np.int32(n_ids)
            table[slot] = known
            n_ids += 1
        codes[row] = known
    return len(starts), n_ids


@njit(cache=True)
def parse_numbers(data, starts, ends, values, hard):
    """Parse decimal numbers, correctly rounded.

    A number is m / 10^k or m 10^k. With m below 2^53 and k up to 22 one operation on float64
    rounds once (Clinger 1990, "How to read floating point numbers accurately"). For a longer m,
    the division is carried to twice the precision, and left to others if that is too near to the
    middle of two float64.

    Parameters
    ----------
    data : ndarray (n_bytes,) uint8
    starts, ends : ndarray (n_rows,) int64
    values : ndarray (n_rows,) float64
        Filled.
    hard : ndarray (n_rows,) int64
        Filled with the rows that were not parsed: longer numbers, and what is not a number.

    Returns
    -------
    int
        How many were not.
    """
    n_hard = 0
    for row in range(len(starts)):
        i, end = starts[row], ends[row]
        negative = data[i] == _MINUS
        if negative or data[i] == _PLUS:
            i += 1
        whole, scale, n_digits = np.uint64(0), 0, 0
        point, fits = False, True
        while i < end:
            code = data[i]
            if code >= _ZERO and code <= _NINE:
                fits = fits and bool(whole < _MOST)
                whole = whole * np.uint64(10) + np.uint64(code - _ZERO)
                n_digits += 1
                scale += point
            elif code == _POINT and not point:
                point = True
            else:
                break
            i += 1
        fits = fits and n_digits > 0
        if i < end and fits and (data[i] | 32) == 101:  # e
            i += 1
            down = i < end and data[i] == _MINUS
            if i < end and (down or data[i] == _PLUS):
                i += 1
            power, digits = 0, 0
            while i < end and data[i] >= _ZERO and data[i] <= _NINE and digits < 4:
                power = power * 10 + (data[i] - _ZERO)
                digits += 1
                i += 1
            fits = fits and digits > 0
            scale += power if down else -power
        fits = fits and i == end and -_EXACT <= scale <= _EXACT
        if fits:
            value, fits = _scaled(whole, scale)
            values[row] = -value if negative else value
        if not fits:
            hard[n_hard] = row
            n_hard += 1
    return n_hard


@njit(cache=True, inline="always")
def _scaled(whole, scale):
    """``whole / 10**scale`` and whether it is sure to be rounded correctly."""
    high = np.float64(whole)
    if whole <= np.uint64(1) << np.uint64(53):
        return (high / _POWERS[scale] if scale >= 0 else high * _POWERS[-scale]), True
    if scale < 0:
        return high, False
    power = _POWERS[scale]
    first = high / power
    # high - first * power exactly (Dekker 1971), and what `high` lacks of `whole`.
    a, b = first * 134217729.0, power * 134217729.0
    a, b = a - (a - first), b - (b - power)
    product = first * power
    error = ((a * b - product) + a * (power - b) + (first - a) * b) + (first - a) * (power - b)
    lost = np.float64(np.int64(whole) - np.int64(high))
    second = (((high - product) - error) + lost) / power
    low, up = first + second * (1 - 1e-14), first + second * (1 + 1e-14)
    return low, low == up


@njit(cache=True, inline="always")
def _slot(one, two, mask):
    """Where to look for a pair of numbers first."""
    mixed = (np.uint64(one) * _MIX) ^ np.uint64(two)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX
    return (mixed ^ (mixed >> np.uint64(32))) & mask


@njit(cache=True)
def first_of_pairs(one, two, table, first):
    """Find for each pair of numbers the first row that has the same.

    Parameters
    ----------
    one, two : ndarray (n,) int32
    table : ndarray (a power of 2, at least 2 n) int32
        Filled with -1; comes back with the first row of each pair, for `find_pairs`.
    first : ndarray (n,) int32
        Filled.
    """
    mask = np.uint64(len(table) - 1)
    for row in range(len(one)):
        slot = _slot(one[row], two[row], mask)
        while table[slot] >= 0:
            known = table[slot]
            if one[known] == one[row] and two[known] == two[row]:
                break
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = row
        first[row] = table[slot]


@njit(cache=True)
def find_pairs(one, two, table, wanted_one, wanted_two, rows):
    """Find pairs of numbers among those of `first_of_pairs`.

    Parameters
    ----------
    one, two, table
        As of `first_of_pairs`.
    wanted_one, wanted_two : ndarray (m,) int32
        Negative numbers are found nowhere.
    rows : ndarray (m,) int32
        Filled with the first row of each pair, -1 where there is none.
    """
    mask = np.uint64(len(table) - 1)
    for at in range(len(wanted_one)):
        rows[at] = -1
        if wanted_one[at] < 0 or wanted_two[at] < 0:
            continue
        slot = _slot(wanted_one[at], wanted_two[at], mask)
        while table[slot] >= 0:
            known = table[slot]
            if one[known] == wanted_one[at] and two[known] == wanted_two[at]:
                rows[at] = known
                break
            slot = (slot + np.uint64(1)) & mask
