"""Time of the whole recipe, features to scores, on one fold of speechocean762 with one thread.

    python tests/benchmarks/bench_recipe.py [--repeats 5]

64 components, rank 100, 10 EM iterations of T, Kaldi's settings otherwise (Kaldi: 75 s on such a
core). Everything counts from audio files to the score file, the start of Python too; a first run
fills Numba's cache and is not counted.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared/corpora/speechocean762"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SETTINGS = (
    "--corpus folder --nj 1 --config recipes/conf/kaldi.conf --system ivector --dev-folds 0 "
    "--num-components 64 --rank 100 --num-iters-tv 10"
).split()


def main() -> None:
    """Prepare the fold, warm up, time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    if not CORPUS.is_dir():
        sys.exit(f"{CORPUS} is not here")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(CORPUS / "protocol/fold0", folder / "protocol/fold0")
        run(folder, "--stage", "0", "--stop-stage", "1")
        times = [run(folder, "--stage", "1", "--stop-stage", "6") for _ in range(repeats + 1)][1:]
        marks = sorted((folder / "exp").rglob("done.json"), key=lambda path: path.stat().st_mtime)
        for mark in marks:
            seconds = json.loads(mark.read_text())["seconds"]
            print(f"  {mark.parent.relative_to(folder / 'exp')!s:<24} {seconds:6.2f} s")
    total = statistics.median(times)
    print(f"features to scores: {total:.1f} s, median of {repeats}; Kaldi 75 s: {75 / total:.1f} x")


def run(folder: Path, *options: str) -> float:
    """Run stages of the recipe; return the seconds they took."""
    places = {"corpus-dir": CORPUS, "protocol": folder / "protocol"}
    places |= {"data": folder / "data", "exp": folder / "exp"}
    words = [word for key, path in places.items() for word in (f"--{key}", str(path))]
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    start = time.perf_counter()
    subprocess.run(
        ["bash", str(ROOT / "recipes/run.sh"), *words, *SETTINGS, *options],
        cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
