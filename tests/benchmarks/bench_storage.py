"""What the storage of log-mel energies costs: size and EER of a small network on speechocean762.

    python tests/benchmarks/bench_storage.py [--epochs 20] [--seeds 1]

Both folds of the corpus's protocol (57,344 trials, 896 targets, 128 speakers): for each storage a
store is made, ResNetSE34L of an eighth of its channels is trained on its training speakers with
the same seed, and the trials are scored by the cosine. Scores of both folds are pooled. Intervals:
95 %, bootstrap over speakers; the difference is paired with float32. A second row scores the
stored features by the float32 network: what storing alone changes, without another training.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fusion import align, bootstrap_interval, paired_bootstrap, read_scores, read_trials
from fusion.formats.layouts import TARGET
from fusion.formats.speakers import mapped_speakers, read_enrolments, read_map
from ivector.features.store import LogMelStore

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared/corpora/speechocean762"
STORAGES = ("float32", "float16", "kaldi")
FOLDS = ("fold0", "fold1")
NETWORK = (
    "--model resnetse34l --model-option channels=[8,8,16,32] --model-option n_blocks=[1,1,1,1] "
    "--model-option embedding_dim=64 --loss aam-softmax --batch-size 32 --frames 150 --lr 3e-3 "
    "--device cpu --threads 1 --validations 0"
).split()


def main() -> None:
    """Make, train, score, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    if not CORPUS.is_dir():
        sys.exit(f"{CORPUS} is not here")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call("recipes.prepare", "folder", "--corpus-dir", CORPUS, "--protocol", CORPUS / "protocol",
             "--out", folder / "data")  # fmt: skip
        shares = {storage: store(folder, storage) for storage in STORAGES}
        for seed in range(arguments.seeds):
            for storage in STORAGES:
                train(folder, storage, arguments.epochs, seed)
            report(folder, shares, seed)


def call(module: str, *words: object) -> None:
    """Run a command of the toolkit."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *map(str, words)]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=ROOT)


def store(folder: Path, storage: str) -> float:
    """Make a store; its share of 16-bit audio in per cent, all its files counted."""
    out = folder / storage
    call("ivector.features.store", folder / "data/wav", out, "--preset", "voxsrc2020",
         "--storage", storage)  # fmt: skip
    size = sum(path.stat().st_size for path in out.iterdir())
    return 100 * size / LogMelStore.open(out).metadata["pcm_bytes"]


def train(folder: Path, storage: str, epochs: int, seed: int) -> None:
    """Train a network on each fold's training speakers, and score its trials."""
    for fold in FOLDS:
        lists, training = folder / "data" / fold, folder / f"{storage}-{fold}-{seed}"
        call("recipes.train_embedding", "--features", folder / storage, "--utt2spk",
             lists / "train.utt2spk", "--out", training, "--epochs", epochs, "--seed", seed,
             *NETWORK)  # fmt: skip
        score(folder, storage, storage, fold, seed)
        if storage != STORAGES[0]:
            score(folder, STORAGES[0], storage, fold, seed)


def score(folder: Path, trained: str, storage: str, fold: str, seed: int) -> None:
    """Score a fold's trials on stored features by the network of a storage."""
    lists = folder / "data" / fold
    call("dnn.verify", folder / f"{trained}-{fold}-{seed}", "--features", folder / storage,
         "--trials", lists / "trials", "--enroll", lists / "enroll",
         "--out", scores_of(folder, trained, storage, fold, seed), "--threads", 1)  # fmt: skip


def scores_of(folder: Path, trained: str, storage: str, fold: str, seed: int) -> Path:
    """Where the scores of a network on stored features lie."""
    return folder / f"scores-{trained}-{storage}-{fold}-{seed}"


def report(folder: Path, shares: dict[str, float], seed: int) -> None:
    """Print a row for each network and storage."""
    trials = read_trials([folder / "data" / fold / "trials" for fold in FOLDS])
    utt2spk = read_map(folder / "data/wav/utt2spk")
    models = {}
    for fold in FOLDS:
        models.update(read_enrolments(folder / "data" / fold / "enroll", utt2spk))
    speakers = mapped_speakers(trials, utt2spk, models)
    target = trials.labels == TARGET
    own = [(storage, storage) for storage in STORAGES]
    alike = [(STORAGES[0], storage) for storage in STORAGES[1:]]
    found: dict[tuple[str, str], np.ndarray] = {}
    print(f"seed {seed}, {len(target)} trials, {target.sum()} targets")
    for key in own + alike:
        files = [scores_of(folder, *key, fold, seed) for fold in FOLDS]
        found[key] = align(read_scores(files), trials).values
        sides = target, speakers.enrol, speakers.test
        result = bootstrap_interval(found[key], *sides).intervals["eer", 0]
        text = f"network of {key[0]:<8} on {key[1]:<8} {shares[key[1]]:5.1f} % of 16-bit audio"
        text += (
            f"  EER {100 * result.estimate:.2f} [{100 * result.low:.2f}, {100 * result.high:.2f}]"
        )
        if key != own[0]:
            gap = paired_bootstrap(found[own[0]], found[key], *sides).differences["eer", 0]
            ends = f"[{100 * gap.interval.low:+.2f}, {100 * gap.interval.high:+.2f}]"
            text += f"  against float32 {100 * (gap.b - gap.a):+.2f} {ends}"
        print(text, flush=True)


if __name__ == "__main__":
    main()
