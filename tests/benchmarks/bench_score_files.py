"""Reading score files: lines a second and peak memory, against NumPy and a plain Python loop.

``python tests/benchmarks/bench_score_files.py [N_LINES]``. One thread; every reader runs in
processes of its own, as peak memory is of a process, their turns interleaved; median of 5. Times
are of reading alone: imports and the loading of compiled kernels, once a process, are a row of
their own. Reading is no arithmetic: beside the machine's rate of float32 products the table gives
the bytes a second of the file and, as the floor, those of merely reading and decoding it.

`loadtxt` keeps the ids as strings of fixed lengths, which it must be told; the loop keeps a
dictionary of pairs, as evaluation scripts do. Neither checks anything.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import gzip  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

REPEATS = 5
READERS = ("kernels' load", "floor", "ours", "ours, gzip", "ours, table", "ours, HDF5",
           "ours, plain code", "Python loop", "NumPy loadtxt")  # fmt: skip


def write_files(folder: Path, n: int) -> int:
    """Files of the same n scores (about) in all forms; their number."""
    from fusion.formats.files import read_scores
    from fusion.formats.hdf5 import write_scores

    rng, side = np.random.default_rng(0), int(np.sqrt(n))
    tests = [f"id1{i % 40:04d}/{i * 7919 % 10**9:09d}xY/{i % 90:05d}.wav" for i in range(side)]
    with open(folder / "scores", "w") as file, open(folder / "scores.csv", "w") as table:
        table.write("enrol,test,score\n")
        for i in range(side):
            model = f"id1{i % 40:04d}/{i:05d}"
            for test, score in zip(tests, rng.normal(size=side).tolist()):
                file.write(f"{model} {test} {score:.6f}\n")
                table.write(f"{model},{test},{score:.6f}\n")
    (folder / "scores.gz").write_bytes(gzip.compress((folder / "scores").read_bytes(), 6))
    write_scores(folder / "scores.h5", read_scores(folder / "scores"))
    return side * side


def python_loop(path: Path) -> int:
    """What evaluation scripts do."""
    scores = {}
    with open(path) as file:
        for line in file:
            enrol, test, score = line.split()
            scores[enrol, test] = float(score)
    return len(scores)


def numpy_loadtxt(path: Path) -> int:
    """The reader of NumPy, told the lengths of ids, which it must know."""
    kinds = {"names": ("enrol", "test", "score"), "formats": ("S16", "S32", "f8")}
    return len(np.loadtxt(path, dtype=kinds, comments=None))


def floor(path: Path) -> int:
    """Reading and decoding alone."""
    n = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 21):
            n += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
            assert block.isascii()
    return n


def ours(path: Path, fast: bool = True) -> int:
    """The toolkit's reader."""
    from fusion.formats import parsing as _columns
    from fusion.formats.files import read_scores

    if not fast:
        _columns.FAST_BYTES = 1 << 60
    return len(read_scores(path))


def load(folder: Path) -> int:
    """Import what reads and load its kernels by reading a few lines."""
    from fusion.formats import parsing as _columns
    from fusion.formats.files import read_scores

    usual, _columns.FAST_BYTES = _columns.FAST_BYTES, 0
    (folder / "few").write_text("a b 1.5\n")
    read_scores(folder / "few")
    _columns.FAST_BYTES = usual
    return 0


def child(reader: str, folder: Path) -> None:
    """One reading, its seconds and peak memory in MB as JSON."""
    run: dict[str, Callable[[], int]] = {
        "kernels' load": lambda: load(folder),
        "floor": lambda: floor(folder / "scores"),
        "ours": lambda: ours(folder / "scores"),
        "ours, gzip": lambda: ours(folder / "scores.gz"),
        "ours, table": lambda: ours(folder / "scores.csv"),
        "ours, HDF5": lambda: ours(folder / "scores.h5"),
        "ours, plain code": lambda: ours(folder / "scores", fast=False),
        "Python loop": lambda: python_loop(folder / "scores"),
        "NumPy loadtxt": lambda: numpy_loadtxt(folder / "scores"),
    }
    if reader.startswith("ours"):
        import h5py  # noqa: F401

        load(folder)
    start = time.perf_counter()
    n = run[reader]()
    spent = time.perf_counter() - start
    # getrusage() would tell that of the process that started this one, too.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps([n, spent, peak]))


def sgemm_rate() -> float:
    """Float32 operations a second of a product of two 1024 x 1024 matrices."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / statistics.median(times[1:])


def main() -> None:
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n = write_files(folder, n)
        size = (folder / "scores").stat().st_size
        times: dict[str, list[float]] = {reader: [] for reader in READERS}
        peaks = dict.fromkeys(READERS, 0.0)
        for repeat in range(REPEATS + 1):
            for reader in READERS:
                command = [sys.executable, __file__, "--child", reader, name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                count, spent, peaks[reader] = json.loads(done.stdout)
                assert count in (0, n)
                if repeat:
                    times[reader].append(spent)
    print(f"{n} lines, {size / n:.0f} bytes each; sgemm {sgemm_rate() / 1e9:.1f} GFLOP/s")
    print(f"{'reader':<18}{'s':>8}{'10⁶ lines/s':>14}{'MB/s':>8}{'peak MB':>9}{'loop / it':>11}")
    loop = statistics.median(times["Python loop"])
    for reader in READERS:
        spent = statistics.median(times[reader])
        if reader == READERS[0]:
            print(f"{reader:<18}{spent:>8.2f}{peaks[reader]:>31.0f}")
            continue
        print(f"{reader:<18}{spent:>8.2f}{n / spent / 1e6:>14.2f}{size / spent / 1e6:>8.0f}"
              f"{peaks[reader]:>9.0f}{loop / spent:>11.1f}")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
