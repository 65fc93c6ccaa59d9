"""Time and memory of ``plda.train``: ``python tests/benchmarks/bench_backend_training.py [N …]``.

Trains on N vectors (by default 1 000 000, then 10 000 000) of 256 dimensions and 20 000 speakers in
a Kaldi archive, choosing LDA size and smoothing, in a process on one core, and prints its seconds
of CPU, its seconds in all and its peak of memory. Archives of 1 and 10 GB are written to the
folder for temporary files, and removed.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_DIMS, N_SPEAKERS = 256, 20_000
_BLOCK = 10_000
_TRAIN = """
import os, resource, sys, time
from ivector.base.cli import run
from plda.commands.train import main, make_parser
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
begun = time.perf_counter()
code = run(make_parser(), main)
used = resource.getrusage(resource.RUSAGE_SELF)
print(f"{used.ru_utime:.0f} s of user, {used.ru_stime:.0f} s of system, "
      f"{time.perf_counter() - begun:.0f} s in all, {used.ru_maxrss / 1024:.0f} MiB")
sys.exit(code)
"""


def write(folder, n_vectors):
    """Archive and utt2spk of speakers with unequal numbers of vectors, in random order."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(N_SPEAKERS, N_DIMS)).astype("f4")
    means *= np.linspace(1.5, 0.1, N_DIMS, dtype="f4")
    head = b" \0BFV \4" + np.int32(N_DIMS).tobytes()
    with open(folder / "x.ark", "wb") as ark, open(folder / "utt2spk", "w") as utt2spk:
        for start in range(0, n_vectors, _BLOCK):
            speakers = (N_SPEAKERS * rng.random(_BLOCK) ** 1.3).astype(int)
            X = means[speakers] + rng.standard_normal((_BLOCK, N_DIMS), dtype="f4")
            for n, (speaker, row) in enumerate(zip(speakers, X), start):
                ark.write(b"utt%08d" % n + head + row.tobytes())
                utt2spk.write(f"utt{n:08} spk{speaker:05}\n")


def main():
    """Measure each number of vectors in a process of its own."""
    environment = os.environ | {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL")}
    for n_vectors in [int(word) for word in sys.argv[1:]] or [1_000_000, 10_000_000]:
        with tempfile.TemporaryDirectory() as name:
            begun = time.perf_counter()
            write(Path(name), n_vectors)
            print(f"{n_vectors} vectors, written in {time.perf_counter() - begun:.0f} s:")
            files = [f"{name}/x.ark", f"{name}/utt2spk", "--out", f"{name}/backend.npz"]
            words = [sys.executable, "-c", _TRAIN, *files, "--memory", "2048"]
            subprocess.run(words, check=True, env=environment)


if __name__ == "__main__":
    main()
