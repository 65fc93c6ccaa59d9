"""Cases for fuzz_scores.py: small faultless score files and trials, and what is done to them."""

from __future__ import annotations

import gzip
import io
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

N_SPEAKERS, N_TESTS = 5, 10
Rows = list[list[str]]


@dataclass
class Case:
    """Files of a case, and what is expected of it.

    Parameters
    ----------
    files : dict of str to bytes or None
        By name; None for a folder in the place of a file.
    measured, linted : int or None
        Exit status of the commands that measure, and of the linter; None for 0 or 1.
    what : list of str
        What was done.
    """

    files: dict[str, bytes | None]
    measured: int | None = 0
    linted: int | None = 0
    what: list[str] = field(default_factory=list)


# --- faultless data ---------------------------------------------------------------------------


def pairs(rng: random.Random) -> tuple[Rows, Rows]:
    """Rows of scores (enrol, test, score) and of trials (enrol, test, label)."""
    prefix = rng.choice(["", "é", "id1000", "中/", "1", "-"])
    form = rng.choice(["{:.6f}", "{:.3e}", "{!r}", "{:+.2f}1"])
    scores, trials = [], []
    for model, test in itertools.product(range(N_SPEAKERS), range(N_TESTS)):
        same = model == test % N_SPEAKERS
        names = [f"{prefix}m{model}", f"{prefix}u{test}"]
        scores.append([*names, form.format(rng.gauss(2.0 * same, 1.0))])
        trials.append([*names, "target" if same else "nontarget"])
    return scores, trials


def is_key(rows: Rows) -> bool:
    return any("target" in row[2] for row in rows)


def house(rows: Rows) -> bytes:
    return "".join(" ".join(row) + "\n" for row in rows).encode()


def value_first(rows: Rows) -> bytes:
    return "".join(f"{value} {enrol} {test}\n" for enrol, test, value in rows).encode()


def nist(rows: Rows) -> bytes:
    name = "targettype" if is_key(rows) else "LLR"
    lines = [f"{enrol}\t{test}\ta\t{value}\n" for enrol, test, value in rows]
    return f"modelid\tsegmentid\tside\t{name}\n{''.join(lines)}".encode()


def comma(rows: Rows) -> bytes:
    name = "label" if is_key(rows) else "score"
    lines = [f'{value},"{enrol}",{test},x y\n' for enrol, test, value in rows]
    return f"{name},Enroll_ID,Test ID,note\n{''.join(lines)}".encode()


def bare_comma(rows: Rows) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def matrix(rows: Rows, flavour: str) -> bytes:
    import h5py
    import numpy as np

    enrol, test = (list(dict.fromkeys(row[i] for row in rows)) for i in (0, 1))
    place = np.array([[enrol.index(row[0]), test.index(row[1])] for row in rows]).T
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        rows_name, columns_name = (
            ("ID/row_ids", "ID/column_ids") if flavour == "bosaris" else ("modelset", "segset")
        )
        out[rows_name] = np.char.encode(np.array(enrol), "utf-8")
        out[columns_name] = np.char.encode(np.array(test), "utf-8")
        values = np.zeros((len(enrol), len(test)))
        if is_key(rows):
            values[tuple(place)] = [1 if row[2] == "target" else -1 for row in rows]
            out["trial_mask"] = values.astype(np.int8)
        else:
            values[tuple(place)] = [float(row[2]) for row in rows]
            out["scores"] = values
            out["score_mask"] = (np.isin(np.arange(values.size), place[0] * len(test) + place[1])
                                 .reshape(values.shape).astype(np.uint8))  # fmt: skip
    return file.getvalue()


FORMS: dict[str, Callable[[Rows], bytes]] = {
    "house": house,
    "value first": value_first,
    "nist": nist,
    "comma": comma,
    "bare comma": bare_comma,
    "bosaris": lambda rows: matrix(rows, "bosaris"),
    "sidekit": lambda rows: matrix(rows, "sidekit"),
}
MATRICES = ("bosaris", "sidekit")


# --- what is done to rows, with what must come of it -------------------------------------------
# Each takes (rng, rows, kind) and returns (measured, linted).


def shuffle(rng, rows, kind):
    rng.shuffle(rows)
    return 0, 0


def bad_value(rng, rows, kind):
    words = (
        ["nan", "inf", "-Infinity", "1e999", "x", "1_0", "0x1", "١", "--1", "1.2.3", "e5", "."]
        if kind == "scores"
        else ["2", "maybe", "targets", "1.0", "nan", "١"]
    )
    rng.choice(rows)[2] = rng.choice(words)
    return 1, 1


def missing_score(rng, rows, kind):
    del rows[rng.randrange(len(rows))]
    # A trial fewer leaves a score without a trial, which the linter only warns of.
    return (1, 1) if kind == "scores" else (1, 0)


def repeat(rng, rows, kind):
    rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
    return 1, 1


def contradict(rng, rows, kind):
    row = list(rng.choice(rows))
    row[2] = {"target": "nontarget", "nontarget": "target"}.get(row[2], "77.5")
    rows.append(row)
    return 1, 1


def one_class(rng, rows, kind):
    if kind == "scores":
        return bad_value(rng, rows, kind)
    for row in rows:
        row[2] = "target"
    return 1, 1


def unknown_label(rng, rows, kind):
    if kind == "scores":
        return missing_score(rng, rows, kind)
    rng.choice(rows)[2] = "unknown"
    return 1, 0


def other_id(rng, rows, kind):
    rng.choice(rows)[rng.randrange(2)] += rng.choice(["x", "é", "\u202e", "０"])
    return 1, 1


def constant(rng, rows, kind):
    if kind == "scores":
        for row in rows:
            row[2] = "0.5"
        return None, 1
    return 0, 0


def separable(rng, rows, kind):
    if kind == "scores":
        for row in rows:
            same = int(row[0].rpartition("m")[2]) == int(row[1].rpartition("u")[2]) % N_SPEAKERS
            row[2] = f"{1000.0 * same + rng.random():.4f}"
        return None, 0
    return 0, 0


def huge(rng, rows, kind):
    if kind == "scores":
        size = rng.choice([1e-300, 1e-150, 1e49, 1e300])
        for row in rows:
            row[2] = f"{float(row[2]) * size:.6e}"
        return (1, 1) if size == 1e300 else (None, None)
    return 0, 0


ROW_ACTS = [shuffle, bad_value, missing_score, repeat, contradict, one_class, unknown_label,
            other_id, constant, separable, huge]  # fmt: skip


# --- what is done to text ----------------------------------------------------------------------


def ends(rng, data):
    return data.replace(b"\n", rng.choice([b"\r\n", b"\n\n", b" \n"])), 0


def mark(rng, data):
    return b"\xef\xbb\xbf" + data, 0


def cut_last_end(rng, data):
    return data.removesuffix(b"\n"), 0


def pack(rng, data):
    return gzip.compress(data, 1), 0


def change_line(rng, data, change):
    lines = data.split(b"\n")
    row = rng.randrange(1, len(lines) - 1)
    lines[row] = change(lines[row])
    return b"\n".join(lines), 1


def lose_cells(rng, data):
    return change_line(rng, data, lambda line: line[:1])


def add_cell(rng, data):
    mark = next((m for m in (b"\t", b",") if m in data), b" ")
    return change_line(rng, data, lambda line: line + mark + b"x")


def bad_byte(rng, data):
    return change_line(rng, data, lambda line: rng.choice([b"\xe9", b"\0", b"\xc3"]) + line)


def bad_quote(rng, data):
    if b'"' not in data:
        return lose_cells(rng, data)
    return change_line(rng, data, lambda line: line.replace(b'",', b",", 1))


def other_delimiter(rng, data):
    old = next((m for m in (b"\t", b",") if m in data), b" ")
    return change_line(rng, data, lambda line: line.replace(old, b";"))


def long_line(rng, data):
    return data + b"x" * (1 << 21), 1


def nothing(rng, data):
    return rng.choice([b"", b"\n", b" \r\n\t"]), 1


def cut_pack(rng, data):
    packed = gzip.compress(data, 1)
    return packed[: rng.randrange(2, len(packed) - 8)], 1


def folder(rng, data):
    return None, 1


TEXT_ACTS = [ends, mark, cut_last_end, pack, lose_cells, add_cell, bad_byte, bad_quote,
             other_delimiter, long_line, nothing, cut_pack, folder]  # fmt: skip


# --- anything at all ---------------------------------------------------------------------------

BITS = ["\u0000", "\u2028", "\ufeff", "é", "\U0001f600", "e\u0301", '"', "'", ",", ";", "\t", "\r",
        "nan", "-", "1e400", "1" * 400, "0.", "target", "enrol,test,score\n", "a" * 5000, " ",
        "\x1a", "\x85", "%s", "{}", "../../x", "\\", "=", "#", "-1", "NaN NaN NaN\n"]  # fmt: skip


def wild(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, taken out, put in, moved or repeated."""
    text = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 10])):
        act = rng.randrange(8)
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.choice([1, 1, 4, 30, 400]))
        if act == 0 and text:
            text[min(at, len(text) - 1)] = rng.randrange(256)
        elif act == 1 and text:
            text[min(at, len(text) - 1)] ^= 1 << rng.randrange(8)
        elif act == 2:
            del text[at:to]
        elif act == 3:
            text[at:at] = rng.choice(BITS).encode()
        elif act == 4:
            text[at:at] = text[at:to] * rng.choice([1, 2, 50])
        elif act == 5:
            del text[at:]
        elif act == 6:
            text[at:to] = rng.randbytes(to - at)
        else:
            lines = bytes(text).split(b"\n")
            rng.shuffle(lines)
            text = bytearray(b"\n".join(lines))
    return bytes(text)


def make(seed: int, number: int) -> tuple[Case, random.Random]:
    """The case of a number, and the generator for what is still to be chosen."""
    rng = random.Random(f"{seed}-{number}")
    tables = dict(zip(("scores", "trials"), pairs(rng)))
    case = Case({})
    damaged = rng.choice(["scores", "trials"])
    kind = rng.choice(["row", "row", "text", "text", "wild", "wild"])
    if rng.random() < 0.05:
        return beside(rng, tables), rng
    forms = {name: rng.choice(list(FORMS)) for name in tables}
    if kind == "text":
        while forms[damaged] in MATRICES:
            forms[damaged] = rng.choice(list(FORMS))
    case.what = [damaged, forms[damaged]]
    if kind == "row":
        act = rng.choice(ROW_ACTS)
        case.measured, case.linted = act(rng, tables[damaged], damaged)
        case.what.append(act.__name__)
        if forms[damaged] in MATRICES and act is not shuffle:
            forms[damaged] = "house"  # matrices have no room for most of these
    files = {name: FORMS[forms[name]](rows) for name, rows in tables.items()}
    case.files = dict(files)
    if kind == "text":
        text_act = rng.choice(TEXT_ACTS)
        case.files[damaged], status = text_act(rng, files[damaged])
        case.measured = case.linted = status
        case.what.append(text_act.__name__)
        if forms[damaged] == "bare comma" and text_act is other_delimiter:
            case.measured = case.linted = 1
    elif kind == "wild":
        case.files[damaged] = wild(rng, files[damaged])
        if rng.random() < 0.1:
            case.files[damaged] = wild(rng, gzip.compress(files[damaged], 1))
        case.measured = case.linted = None
        case.what.append("wild")
    return case, rng


def beside(rng: random.Random, tables: dict[str, Rows]) -> Case:
    """Case with faultless scores and trials, and a damaged file of another sort."""
    files = {name: house(rows) for name, rows in tables.items()}
    damaged = rng.choice(["table", "utt2spk"])
    data = plain_files(tables["scores"])[damaged]
    if rng.random() < 0.5:
        return Case({**files, damaged: wild(rng, data)}, None, None, [damaged, "", "wild"])
    act = rng.choice([act for act in TEXT_ACTS if act not in (pack, bad_quote)])
    data, status = act(rng, data)
    return Case({**files, damaged: data}, status, None, [damaged, "", act.__name__])


def plain_files(scores: Rows) -> dict[str, bytes]:
    """Speakers and measures of the ids."""
    ids = [f"{name} {int(name.rpartition('m')[2])}" for name in {row[0]: 0 for row in scores}]
    tests = {row[1]: 0 for row in scores}
    ids += [f"{name} {int(name.rpartition('u')[2]) % N_SPEAKERS}" for name in tests]
    table = [f"{name},{1.5 + n % 7},{'mf'[n % 2]}\n" for n, name in enumerate(tests)]
    return {
        "utt2spk": "".join(f"{line}\n" for line in ids).encode(),
        "table": ("id,duration,gender\n" + "".join(table)).encode(),
    }
