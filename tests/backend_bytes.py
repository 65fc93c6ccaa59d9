"""UBM, T, i-vectors and scores have the same bytes on every backend, for any number of workers.

Run ``python tests/backend_bytes.py [--work DIR] [RECIPE OPTION...]``: the i-vector system of
``recipes/run.sh`` by loky with 1 and 2 jobs, by 2 threads, and on local Dask clusters of 1, 2 and 4
worker processes. The options are run.sh's, for example ``--corpus hyke --corpus-dir DIR``; the
default is the synthetic corpus. Prints the digests of each run; the status is 1 where they differ.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = (
    ("loky", 1), ("loky", 2), ("threading", 2), ("dask", 1), ("dask", 2), ("dask", 4),
)  # fmt: skip
FILES = {
    "features": "features/*.ark",
    "UBM": "ivector/ubm/*/final.npz",
    "T": "ivector/tv/*/final.npz",
    "i-vectors": "ivector/ivectors/*/ivectors.npz",
    "scores": "ivector/scores/*/scores*",
}


def digests(exp: Path) -> dict[str, str]:
    """SHA-1 over the files of each kind, all folds together."""
    found = {}
    for what, pattern in FILES.items():
        total = hashlib.sha1()
        files = sorted(exp.glob(pattern))
        if not files:
            raise SystemExit(f"{exp}: no {pattern}")
        for file in files:
            total.update(file.relative_to(exp).as_posix().encode() + file.read_bytes())
        found[what] = total.hexdigest()[:12]
    return found


def run(folder: Path, backend: str, nj: int, options: list[str]) -> tuple[dict[str, str], float]:
    """Run stages 0 to 6; the data directories are shared by all runs."""
    exp = folder / f"{backend}-{nj}"
    command = [
        "bash", str(ROOT / "recipes/run.sh"), "--data", str(folder / "data"), "--exp", str(exp),
        "--system", "ivector", "--dev-folds", "0", "--stop-stage", "6", "--backend", backend,
        "--nj", str(nj), *options,
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}, capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{backend} {nj}: {done.stderr.strip().splitlines()[-1]}")
    return digests(exp), time.perf_counter() - start


def main() -> int:
    """Run all and compare."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0], allow_abbrev=False)
    parser.add_argument("--work", type=Path, help="folder to work in; default a temporary one")
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.work or Path(temporary)).resolve()
        print(f"{'backend':10} {'nj':>2} {'s':>6}", *(f"{what:12}" for what in FILES))
        distinct = set()
        for backend, nj in RUNS:
            found, seconds = run(folder, backend, nj, options)
            distinct.add(tuple(found.values()))
            print(f"{backend:10} {nj:2} {seconds:6.1f}", *found.values(), flush=True)
    print("identical" if len(distinct) == 1 else "DIFFERENT")
    return int(len(distinct) > 1)


if __name__ == "__main__":
    raise SystemExit(main())
