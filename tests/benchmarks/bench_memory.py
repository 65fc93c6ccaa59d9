"""Peak memory of training on a corpus and on one ten times larger; it must not grow.

    python tests/benchmarks/bench_memory.py [--utterances 140] [--factor 10]

Generated features are written to archives as stage 1 leaves them; then stages 2 and 3 train a
universal background model (diagonal, then full) and a total-variability model from them, each in
a process of its own whose peak resident memory is read from the operating system. Beside it stands
what the same process fills by its imports alone, so that a base of libraries hides no growth.

The smaller corpus is already more than one shard of everything: 140 utterances of 1,000 frames are
3 shards of 50,000 frames for the mixtures and 3 of 64 utterances of statistics. Its prepared frames
fit into the memory that these may take and are kept; those of the larger one do not.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import multiprocessing  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

# Nothing else may be imported here: a child's peak counts from what its parent filled.

ROOT = Path(__file__).resolve().parents[2]
FRAMES, STATIC = 1000, 20  # frames of an utterance; dimensions, 60 with deltas
SESSIONS = 10  # utterances of a speaker
COMPONENTS, RANK = 128, 50
STAGES = {2: "ubm", 3: "total_variability"}
OPTIONS = (
    f"--system ivector --dev-folds 0 --nj 1 --num-components {COMPONENTS} --num-iters-diag 3 "
    f"--num-iters-full 2 --rank {RANK} --num-iters-tv 2"
).split()
LIMIT = 1.10


def make_corpus(folder: Path, n_train: int) -> None:
    """Write the protocol and the features of a corpus: a mixture, shifted for every speaker."""
    import numpy as np

    from ivector.base.files import write_text
    from ivector.formats.arks import ArkWriter
    from recipes.engine.stage import stage

    names = [f"s{i // SESSIONS:05}-{i % SESSIONS}" for i in range(n_train + 2 * SESSIONS)]
    home, fold = folder / "exp" / "features", folder / "data" / "fold0"
    rng = np.random.default_rng(0)
    means = rng.normal(scale=3, size=(32, STATIC))
    with stage(home, {}) as work:
        assert work is not None  # a new folder is never done already
        with (
            ArkWriter(work / "feats", listed_in=home) as feats,
            ArkWriter(work / "vad", listed_in=home) as vad,
        ):
            for i, name in enumerate(names):
                if i % SESSIONS == 0:
                    shifted = means + rng.normal(size=means.shape)
                frames = shifted[rng.integers(len(means), size=FRAMES)]
                frames += rng.normal(size=frames.shape)
                feats.write(name, frames.astype(np.float32))
                vad.write(name, np.ones(FRAMES, np.float32))
        write_text(work / "utt2num_voiced", "".join(f"{name} {FRAMES}\n" for name in names))
    table = [f"{name} {name[:-2]}\n" for name in names]
    write_text(folder / "data" / "wav" / "utt2spk", "".join(table))
    write_text(fold / "train.utt2spk", "".join(table[:n_train]))
    enrolled = [name for name in names[n_train:] if name.endswith("-0")]
    write_text(fold / "enroll", "".join(f"{name[:-2]} {name}\n" for name in enrolled))
    trials = [
        f"{name[:-2]} {test} {'target' if test[:-2] == name[:-2] else 'nontarget'}\n"
        for name in enrolled
        for test in names[n_train:]
        if not test.endswith("-0")
    ]
    write_text(fold / "trials", "".join(trials))


def peak(command: list[str]) -> tuple[float, float]:
    """Peak resident memory (MiB) and wall-clock seconds of a process and those it waits for."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if process.returncode:
            raise SystemExit(log.read().decode())
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit / 2**20, time.perf_counter() - start


def measure(folder: Path, n_train: int) -> dict[str, tuple[float, float]]:
    """Peak memory and time of every stage on a corpus of `n_train` training utterances."""
    maker = multiprocessing.get_context("spawn").Process(target=make_corpus, args=(folder, n_train))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit("the corpus could not be made")
    words = ["--data", str(folder / "data"), "--exp", str(folder / "exp"), *OPTIONS]
    return {
        step: peak([sys.executable, "-m", "recipes.steps", str(number), *words])
        for number, step in STAGES.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=140, help="of the smaller corpus")
    parser.add_argument("--factor", type=int, default=10)
    args = parser.parse_args()
    small, large = args.utterances, args.utterances * args.factor
    with tempfile.TemporaryDirectory() as folder:
        of_small = measure(Path(folder) / "small", small)
        of_large = measure(Path(folder) / "large", large)
    print(
        f"{COMPONENTS} components, 60 features, rank {RANK}, one process; "
        f"{small} and {large} utterances of {FRAMES} frames\n"
    )
    print(f"{'':20s} {'imports':>9s} {'small':>9s} {'large':>9s}  MiB  ratio   above imports")
    for step in STAGES.values():
        imports = f"import recipes.engine.jobs, recipes.steps.__main__, recipes.steps.{step}"
        base, _ = peak([sys.executable, "-c", imports])
        (less, _), (more, seconds) = of_small[step], of_large[step]
        verdict = "" if more / less < LIMIT else f"   NOT below {LIMIT}"
        print(
            f"{step:20s} {base:9.1f} {less:9.1f} {more:9.1f} {more / less:11.3f} "
            f"{(more - base) / (less - base):15.3f}   large took {seconds:.1f} s{verdict}"
        )


if __name__ == "__main__":
    main()
