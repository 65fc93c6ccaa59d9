"""Marks of finished stages: what they were made of, whether they stand, why they run again.

The stamp of a stage is a digest of its options, of the stamps of the stages it reads, and of the
code that it computes with (`recipes.engine.code`). A stage left *unfinished* is continued by the
very same sources, package versions and CPU features only: half of its shards by one and half by
another would be the worst of all, and little is lost (see `run_key`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import platform
import re
import subprocess
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import check_types, read_json
from ivector.base.foreign.names import shown
from ivector.base.portable import is_portable

PACKAGES = (
    "ivector-plda", "numpy", "scipy", "scikit-learn", "numba", "soundfile", "kaldiio", "torch",
    "onnxruntime",
)  # fmt: skip
ROOMS = ("ivector", "plda", "dnn", "fusion", "recipes")
CHECKSUM_LIMIT = 64 * 2**20  # bytes; of larger files the size alone is compared
RESUME = ".resume"  # what only an unfinished stage needs; not part of its results
_TEMPORARY = re.compile(r"\..*\.tmp[0-9]")

Upstream = Mapping[str, str] | Sequence[str]


def read_mark(folder: Path) -> dict[str, Any] | None:
    """Read the mark of a finished stage, or None."""
    try:
        mark = read_json(folder / "done.json", "the mark of a stage")
    except DataError:
        return None
    return mark if isinstance(mark.get("stamp"), str) else None


def read_options(folder: Path) -> dict[str, Any]:
    """Options that a finished stage was run with.

    Raises
    ------
    DataError
        They are missing or damaged.
    """
    path = folder / "options.json"
    record = read_json(path, "the options of a stage")
    check_types(path, record, {"options": dict}, "the options of a stage")
    return record["options"]


def require(folder: Path, stage: int, on: Sequence[str] = ()) -> str:
    """Stamp of a stage that must have been run.

    Parameters
    ----------
    folder : Path
    stage : int
        Its number in ``run.sh``, for the cure.
    on : sequence of str
        Stamps of the stages that it must have been made from.

    Raises
    ------
    DataError
        It has not finished, was made from something else, or its files are not as it left them;
        says which stage to run. In a dry run nothing is asked of a stage that would be run.
    """
    if is_planned(folder):
        return f"planned: stage {stage}"
    mark = read_mark(folder)
    if mark is None:
        raise DataError(f"{folder}: stage {stage} has not finished; run with --stage {stage}")
    if defect := find_defect(folder, mark):
        raise DataError(f"{folder / defect}; run with --stage {stage} to make it again")
    if not is_made_from(mark, on):
        raise DataError(
            f"{folder}: stages before it were run anew since; run with --stage {stage} to follow"
        )
    return mark["stamp"]


def is_made_from(mark: Mapping[str, Any], stamps: Collection[str]) -> bool:
    """Whether the stages of these stamps are among those that a stage was made from."""
    return set(stamps) <= set(named(mark.get("upstream", stamps)).values())


# Folders of stages that a dry run has found would be run.
_planned: set[Path] = set()


def is_planned(folder: Path) -> bool:
    """Whether a dry run has found that a stage would be run."""
    return folder.resolve() in _planned


def tell(folder: Path, reasons: Sequence[str]) -> None:
    """Print what a dry run has found of a stage: why it would be run, or that it is left alone.

    The folders that would be made are noted for the stages behind it.
    """
    if not reasons:
        print(shown(f"leave {folder}"))
        return
    print(shown(f"run   {folder}  # {'; '.join(reasons)}"))
    _planned.add(folder.resolve())


def named(upstream: Upstream) -> dict[str, str]:
    """What a stage reads, by name; what has none is numbered."""
    if isinstance(upstream, Mapping):
        return dict(upstream)
    return {f"input {number}": stamp for number, stamp in enumerate(upstream, 1)}


def make_stamp(options: Mapping[str, Any], upstream: Upstream, code: str) -> str:
    """Digest of all that a stage's results depend on."""
    parts: list[Any] = [dict(options), named(upstream), code]
    return _digest([*parts, "portable"] if is_portable() else parts)


def make_mark(
    options: Mapping[str, Any],
    upstream: Upstream,
    code: str,
    seconds: float,
    warnings: Sequence[str],
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """What a finished stage is marked with; `files` as of `manifest`."""
    return {
        "stamp": make_stamp(options, upstream, code), "upstream": named(upstream), "code": code,
        "portable": is_portable(), "seconds": seconds, "warnings": list(warnings), "files": files,
    }  # fmt: skip


def run_key(stamp: str) -> str:
    """Digest of what must be the same for an unfinished stage to be continued."""
    return _digest([stamp, sources(), versions(), cpu()])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def sources() -> str:
    """Digest of all files of the project, as they were when this was first asked."""
    return digest(*_sources())


def files_state() -> list[tuple[Path, tuple[int, int, int]]]:
    """All files of the project with their states: they tell in a moment of an edit."""
    return [(path, file_state(path)) for path in _sources()]


def _sources() -> list[Path]:
    """Modules, and the stubs that tell where public names are."""
    root = Path(__file__).resolve().parents[2]
    return sorted(
        path for room in ROOMS for kind in ("*.py", "*.pyi") for path in (root / room).rglob(kind)
    )


def digest(*paths: Path) -> str:
    """Digest of the contents of small files that a stage depends on."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def find_defect(folder: Path, mark: Mapping[str, Any]) -> str:
    """Say which file of a finished stage is not as it was left, and how; '' if none."""
    for name, (size, checksum) in mark.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            return f"{name}: is gone since the stage finished"
        found = path.stat().st_size
        if found != size:
            return f"{name}: has {found} bytes, {size} when the stage finished"
        if checksum != _checksum(path, file_state(path)):
            return f"{name}: was changed since the stage finished"
    return ""


def manifest(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and checksum of every file that a stage leaves, but for its log."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "log"):
        name = path.relative_to(folder)
        # A worker that was given up may still be writing.
        if name.parts[0] != RESUME and not _TEMPORARY.match(path.name):
            state = file_state(path)
            found[name.as_posix()] = (state[1], _checksum(path, state))
    return found


def remove_temporary(folder: Path) -> None:
    """Remove the files that a killed process was writing."""
    for path in folder.rglob(".*.tmp*"):
        if _TEMPORARY.match(path.name) and path.is_file():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def file_state(path: Path) -> tuple[int, int, int]:
    """What tells in a moment that a file is another one."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


@functools.lru_cache(maxsize=4096)
def _checksum(path: Path, state: tuple[int, int, int]) -> int:
    """CRC-32 of a file in this state; 0 for one that would take long to read."""
    return zlib.crc32(path.read_bytes()) if state[1] <= CHECKSUM_LIMIT else 0


def find_reasons(
    folder: Path,
    options: Mapping[str, Any],
    upstream: Upstream,
    code: str = "",
    keep: bool = False,
) -> list[str]:
    """Say why a stage has to be run, in words; nothing if it is done.

    Parameters
    ----------
    folder : Path
    options : mapping of str
    upstream : mapping or sequence of str
    code : str
        Digest of the code that it computes with.
    keep : bool
        Other code alone is no reason.
    """
    upstream = named(upstream)
    planned = sorted({s.partition(": ")[2] for s in upstream.values() if s.startswith("planned")})
    mark = read_mark(folder)
    if mark is None:
        return ["not there yet", *(f"follows {stage}" for stage in planned)]
    if keep:
        code = mark.get("code", code)
    if mark["stamp"] == make_stamp(options, upstream, code):
        defect = find_defect(folder, mark)
        return [defect] if defect else []
    try:
        former = dict(_flat(read_options(folder)))
    except (DataError, TypeError, AttributeError):
        return ["options.json: is gone or damaged"]
    present = dict(_flat(dict(options)))
    reasons = [
        f"option {name}: {_said(former, name)} -> {_said(present, name)}"
        for name in sorted(former.keys() | present.keys())
        if _said(former, name) != _said(present, name)
    ]
    read = named(mark.get("upstream", {}))
    changed = [name for name in sorted(upstream) if upstream[name] != read.get(name)]
    changed = [name for name in changed if not upstream[name].startswith("planned")]
    reasons += [f"{name} changed" for name in changed] + [f"follows {stage}" for stage in planned]
    if mark.get("portable", False) != is_portable():
        reasons.append("--portable changed")
    if mark.get("code") != code:
        reasons.append("the code of this stage changed")
    return reasons or ["what it reads changed"]


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _said(options: Mapping[str, Any], name: str) -> str:
    return json.dumps(options[name], sort_keys=True) if name in options else "none"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def commit() -> str:
    """The commit of the checkout that this code is of, with +changes; "" outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps below somebody else's checkout
        return ""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty=+changes"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(git, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


@functools.cache
def cpu() -> str:
    """Features of the processor that results may depend on by a last digit, as they are in use."""
    if is_portable():
        return "any x86-64 (--portable)"
    import numpy as np
    from threadpoolctl import threadpool_info

    core = importlib.import_module(
        f"numpy.{'_core' if hasattr(np, '_core') else 'core'}._multiarray_umath"
    )
    simd = sorted(name for name, used in core.__cpu_features__.items() if used)
    blas = sorted({str(pool.get("architecture")) for pool in threadpool_info()} - {"None"})
    numba = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("NUMBA_CPU")]
    return " ".join([platform.machine(), *simd, *(f"BLAS={name}" for name in blas), *numba])
