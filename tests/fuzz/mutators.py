"""What is done to whole files: any bytes changed, and fields of each format set to extremes."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz_cases import wild

INTEGERS = [0, 1, -1, 2, 3, 127, 255, 256, 32767, 65535, 65536, 10**6, 10**9, 2**31 - 1, -(2**31)]
NUMBERS = [0.0, -0.0, -1.0, 1e-320, 1e38, 1e308, -1e308, float("nan"), float("inf"), -float("inf")]
DEEP = "[" * 100_000
JSON_VALUES: list[Any] = [
    None, True, False, "", "x", "\x1b[31m", "\ud800", [], {}, [[]], [{}], 0, -1, 1.5, 10**23,
    10**400, float("nan"), float("inf"), "m/__class__", "__class__", "../../x", ["a", 1, None],
    "a" * 10_000,
]  # fmt: skip
KINDS = ["<c16", "<M8[s]", "|b1", "<i8", "<u1", "<f2", "<f4", "<f8", "<U3", "|S3", "|V4", "|O"]

Mutator = Callable[[random.Random, bytes], bytes]


def mutate(rng: random.Random, data: bytes, form: str) -> bytes:
    """A changed file of a format; most often by its structure, where it has one that is known."""
    own = FORMS.get(form, [])
    if own and rng.random() < 0.6:
        try:
            return rng.choice(own)(rng, data)
        except Exception:
            pass  # it was changed before, and is no such file any more
    return rng.choice([wild, wild, number, cut, twice])(rng, data)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def twice(rng: random.Random, data: bytes) -> bytes:
    return data + data if rng.random() < 0.5 else data + rng.randbytes(rng.choice([1, 4, 100]))


def number(rng: random.Random, data: bytes) -> bytes:
    """Some bytes as another number, or a number of a text as another."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20_000]))
    if found and b"\0" not in data[:2000]:
        one = rng.choice(found)
        new = rng.choice([*map(repr, INTEGERS + NUMBERS), "9" * 23, "9" * 5000, "1e400", "٣"])
        return data[: one.start()] + new.encode() + data[one.end() :]
    at = rng.randrange(max(1, min(len(data), 4000)))
    form = rng.choice("<h >h <i >i <q >q".split())
    size = struct.calcsize(form)
    value = rng.choice(INTEGERS) % 2 ** (8 * size)
    new = value.to_bytes(size, "little" if form[0] == "<" else "big")
    return data[:at] + new + data[at + size :]


# --- JSON ----------------------------------------------------------------------------------------


def change_json(rng: random.Random, data: bytes) -> bytes:
    """One value of a document replaced, removed, or put in twice."""
    whole = json.loads(data)
    places = list(_places(whole))
    holder, key = rng.choice(places)
    act = rng.randrange(5)
    if act == 0 and isinstance(holder, dict):
        del holder[key]
    elif act == 1 and isinstance(holder, dict):
        holder[str(rng.choice(JSON_VALUES))[:50]] = rng.choice(JSON_VALUES)
    else:
        holder[key] = rng.choice([*JSON_VALUES, "DEEP"])
    text = json.dumps(whole)
    if act == 4 and isinstance(holder, dict):
        text = text.replace("{", f"{{{json.dumps(key)}: 1, ", 1)
    return text.replace('"DEEP"', DEEP).encode("utf-8", "surrogatepass")


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, (dict, list)) and value:
            yield from _places(value)


def other_json(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        [
            json.dumps(rng.choice(JSON_VALUES)),
            DEEP,
            '{"a":' * 50_000,
            "",
            "{",
            "NaN",
            '{"a":1,"a":2}',
        ]
    ).encode()


# --- zip and npz ---------------------------------------------------------------------------------


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > 1 << 24:
            raise ValueError("large already")
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def array_header(rng: random.Random, data: bytes) -> bytes:
    """The header of an array says another shape or type."""
    members = _members(data)
    name = rng.choice([one for one in members if one.endswith(".npy")])
    content = members[name]
    size = struct.unpack_from("<H", content, 8)[0]
    header = content[10 : 10 + size].decode("latin-1")
    if rng.random() < 0.5:
        sizes = [rng.choice(INTEGERS) for _ in range(rng.randrange(5))]
        header = re.sub(
            r"'shape': \([^)]*\)", f"'shape': ({''.join(f'{n},' for n in sizes)})", header
        )
    else:
        header = re.sub(r"'descr': '[^']*'", f"'descr': '{rng.choice(KINDS)}'", header)
    header = header.strip() + "\n"
    members[name] = (
        content[:8] + struct.pack("<H", len(header)) + header.encode() + content[10 + size :]
    )
    return _packed(members)


def array_values(rng: random.Random, data: bytes) -> bytes:
    """Another array in the place of one: other numbers, types, shapes."""
    members = _members(data)
    name = rng.choice([one for one in members if one.endswith(".npy")])
    array = np.load(io.BytesIO(members[name]))
    if array.dtype.kind == "U":
        return _packed({**members, name: _npy(_other_text(rng, array))})
    array = array.copy()
    act = rng.randrange(8)
    if act == 0 and array.size:
        array.flat[rng.randrange(array.size)] = rng.choice(
            NUMBERS if array.dtype.kind == "f" else [1]
        )
    elif act == 1:
        array = -array if array.dtype.kind != "b" else ~array
    elif act == 2:
        array = array.astype(rng.choice(["c16", "b1", "i4", "f2", "f4", "U3", "M8[s]", "u1"]))
    elif act == 3:
        array = array[..., :0] if array.ndim else array[None][:0]
    elif act == 4:
        array = array[None] if rng.random() < 0.5 else array.ravel()
    elif act == 5:
        array = np.zeros_like(array)
    elif act == 6:
        array = np.ones_like(array)
    elif array.ndim and array.shape[0] > 1:
        array = array[:-1]
    return _packed({**members, name: _npy(array)})


def _other_text(rng: random.Random, array: np.ndarray) -> np.ndarray:
    if array.ndim == 0 and str(array).startswith("{"):
        text = change_json(rng, str(array).encode()).decode("utf-8", "replace")
        return np.array(text)
    return rng.choice([array[None], np.array(7), np.array("x"), array.ravel()[:1].astype("S9")])


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def members(rng: random.Random, data: bytes) -> bytes:
    """Members left out, renamed, added, packed, or longer than their arrays."""
    found = _members(data)
    name = rng.choice(list(found))
    act = rng.randrange(7)
    if act == 0:
        del found[name]
    elif act == 1:
        found[rng.choice(["m/__class__.npy", "model/__init__.npy", "../x.npy", name.upper()])] = (
            found.pop(name)
        )
    elif act == 2:
        found[name] += rng.randbytes(rng.choice([1, 8, 1000]))
    elif act == 3:
        zeros = b"\0" * rng.choice([1 << 20, 1 << 27])
        size = len(zeros) // 8
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({size},), }}\n".encode()
        bomb = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + zeros
        found[rng.choice(["unused.npy", name])] = bomb
        return _packed(found, zipfile.ZIP_DEFLATED)
    elif act == 4:
        return _packed(
            found, rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
        )
    elif act == 5:
        return found[name]
    else:
        found[name] = found[rng.choice(list(found))]
    return _packed(found)


def zip_fields(rng: random.Random, data: bytes) -> bytes:
    """A field of the directory or of a local header set to something else."""
    changed = bytearray(data)
    marks = [m.start() for m in re.finditer(rb"PK(\1\2|\3\4|\5\6)", data)]
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.choice(marks) + rng.randrange(4, 46)
        if at < len(changed):
            changed[at] = rng.choice([0, 1, 8, 9, 12, 14, 99, 255, rng.randrange(256)])
    return bytes(changed)


# --- Kaldi's, HDF5, safetensors, torch -----------------------------------------------------------


def kaldi_sizes(rng: random.Random, data: bytes) -> bytes:
    """A size or a kind of a binary object is another."""
    changed = bytearray(data)
    if rng.random() < 0.3:
        kinds = [m.start() for m in re.finditer(rb"[FD][MVP] |CM[ 23]", data)]
        at = rng.choice(kinds)
        changed[at : at + 3] = rng.choice([b"FM ", b"DM ", b"FV ", b"DV ", b"FP ", b"CM ", b"CM2"])
        return bytes(changed)
    sizes = [m.start() for m in re.finditer(rb"\x04(?=....)", data, re.DOTALL)][:20]
    for at in rng.sample(sizes, min(len(sizes), rng.choice([1, 2, 3]))):
        changed[at + 1 : at + 5] = struct.pack("<i", rng.choice(INTEGERS))
    return bytes(changed)


def hdf5(rng: random.Random, data: bytes) -> bytes:
    """A dataset is of another type or shape, filled and not stored, a group, or not there."""
    import h5py

    file = io.BytesIO(data)
    with h5py.File(file, "r+") as archive:
        names: list[str] = []
        archive.visititems(lambda n, x: names.append(n) if isinstance(x, h5py.Dataset) else None)
        name = rng.choice(names)
        value = archive[name][()]
        del archive[name]
        act = rng.randrange(8)
        if act == 0:
            archive.create_dataset(name, (10**6, 10**6), "f8", chunks=(1000, 1000))
        elif act == 1:
            archive.create_dataset(name, (10**12,), "S8", chunks=(10**6,))
        elif act == 2:
            archive.create_group(name)
        elif act == 3:
            kinds = ["c16", "b1", "i1", "u8", "f2", "S4", [("a", "f8")]]
            with np.errstate(all="ignore"):
                archive[name] = np.zeros(value.shape, rng.choice(kinds))
        elif act == 4 and value.dtype.kind in "fiu":
            changed = value.astype("f8")
            changed.flat[rng.randrange(value.size)] = rng.choice([*NUMBERS, 0.5, 2.0])
            archive[name] = changed
        elif act == 5:
            archive[name] = value.ravel()[:-1] if rng.random() < 0.5 else value[None]
        elif act == 6:
            archive[name] = rng.choice([7, "x", np.nan])
    return file.getvalue()


def tensor_header(rng: random.Random, data: bytes) -> bytes:
    """The header of a safetensors file says something else, or claims another length."""
    (size,) = struct.unpack_from("<Q", data)
    if rng.random() < 0.3:
        return struct.pack("<Q", rng.choice([0, 2**63, 2**40, size + 1, 10**8])) + data[8:]
    header = change_json(rng, data[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def other_tensor(rng: random.Random, data: bytes) -> bytes:
    """Another thing saved by torch."""
    import torch

    file = io.BytesIO()
    things: list[Callable[[], Any]] = [
        lambda: torch.zeros(1).expand(100_000, 100_000),
        lambda: torch.eye(4).to_sparse(),
        lambda: torch.zeros(4, 5, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(4, 5), 0.1, 0, torch.qint8),
        lambda: torch.ones(4, 5, dtype=torch.complex64),
        lambda: torch.ones(4, 5, dtype=torch.bool),
        lambda: torch.full((4, 5), float("nan")),
        lambda: torch.zeros(0, 5),
        lambda: {"a": torch.ones(3)},
        lambda: [1, 2],
    ]
    torch.save(rng.choice(things)(), file)
    return file.getvalue()


FORMS: dict[str, list[Mutator]] = {
    "json": [change_json, change_json, other_json],
    "npz": [array_header, array_values, array_values, members, zip_fields],
    "kaldi": [kaldi_sizes],
    "hdf5": [hdf5],
    "safetensors": [tensor_header],
    "pt": [other_tensor, zip_fields, members],
    "text": [number],
}
