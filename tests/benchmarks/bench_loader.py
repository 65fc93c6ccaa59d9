"""How many crops a second one core prepares, by source, against the usual way and the network.

Run ``python tests/benchmarks/bench_loader.py``. Batches of 64 crops from generated data in the
formats of the systems. The peers do what a plain data set does: read the whole utterance with the
format's common library, cut, and stack. The bound is memory: a batch must be written once, at the
rate at which this core copies; "of bound" says which part of that a source reaches. Where torch
is installed, a training step of each source's network on one core says how many times as fast its
loader is; on a GPU the network is some hundred times as fast, and loaders run in many processes.
Files are in the page cache, as in every epoch but the first.
"""
# ruff: noqa: E402

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnn.data.audio_source import AudioSource
from dnn.data.augment import SpecAugment, standard_augmentation
from dnn.data.batches import CropBatches
from dnn.data.records import BinaryRecords, write_records
from dnn.data.sources import ArraySource, KaldiSource, StoreSource, pack
from dnn.data.spectrogram import Spectrogram
from ivector.features.extractors import MFCC
from ivector.features.store import LogMelStore

BATCH = 64
RUNS = 5
RATE = 16000
N_SPEAKERS, EACH = 24, 4
SECONDS = 8.0  # of an utterance; VoxCeleb's mean


def median_time(function):
    """Median CPU seconds of a call, which other programs disturb less than the clock's."""
    function(0)
    times = []
    for step in range(1, RUNS + 1):
        start = time.process_time()
        function(step)
        times.append(time.process_time() - start)
    return statistics.median(times)


def copy_rate():
    """Bytes a second of a copy of memory."""
    block = np.ones(1 << 24, np.float32)
    out = np.empty_like(block)
    return block.nbytes / median_time(lambda step: np.copyto(out, block))


def features(n_features):
    rng = np.random.default_rng(0)
    n_frames = int(100 * SECONDS)
    return {
        f"u{i:03d}": rng.standard_normal((n_frames, n_features), np.float32)
        for i in range(N_SPEAKERS * EACH)
    }


def write_audio(folder):
    import soundfile

    rng = np.random.default_rng(0)
    rows = []
    for i in range(N_SPEAKERS * EACH):
        path = folder / f"u{i:03d}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(int(SECONDS * RATE)), RATE)
        rows.append((path.stem, str(path), None, None))
    return rows


def labels_of(source):
    return np.arange(len(source)) % N_SPEAKERS


def batches(source, n_frames, **options):
    return CropBatches(source, labels_of(source), n_frames=n_frames, batch_size=BATCH, **options)


def plain(load, n_items, n_frames):
    """Whole utterance, cut, stacked."""

    def get(step):
        rng = np.random.default_rng(step)
        crops = []
        for index in rng.integers(n_items, size=BATCH):
            whole = load(int(index))
            start = int(rng.integers(len(whole) - n_frames + 1))
            crops.append(whole[start : start + n_frames])
        return np.stack(crops).astype(np.float32)

    return get


def stored_sources(folder, rows):
    """(name, source, frames, the network it feeds, peer's name and function)."""
    import kaldiio

    source = pack(ArraySource(list(features(30)), list(features(30).values())), folder / "plain")
    table = kaldiio.load_scp(str(folder / "plain.scp"))
    yield "MFCC 30, ark", source, 200, "xvector", "kaldiio", lambda i: table[source.ids[i]]
    for storage in ("kaldi", "float16"):
        store = LogMelStore.create(folder / storage, rows, storage=storage)
        made = StoreSource(folder / storage)
        name = f"log-mel 40, store {storage}"
        yield (
            name, made, 200, "resnetse34l", "whole",
            lambda i, store=store, made=made: store[made.ids[i]],
        )  # fmt: skip
    write_records(
        folder / "records-0.bin",
        ((i % N_SPEAKERS, np.random.default_rng(i).random((512, 300), np.float32))
         for i in range(N_SPEAKERS * EACH)),
    )  # fmt: skip
    made = BinaryRecords(folder / "records-0.bin")
    record = np.dtype([("label", "<f4"), ("data", "<f4", (512, 300))])
    yield (
        "spectrogram 512, .bin", made, 300, "vgg-m", "np.fromfile",
        lambda i: np.fromfile(folder / "records-0.bin", record, 1, offset=i * record.itemsize)[
            "data"
        ][0].T,
    )  # fmt: skip


def tensor_sources(folder):
    import torch

    from dnn.data.mel_set import read_training, write_set

    arrays = list(features(40).values())
    by_speaker = {f"id{s:05d}": arrays[s::N_SPEAKERS] for s in range(N_SPEAKERS)}
    write_set(folder / "set", by_speaker, arrays[:1])
    source = read_training(folder / "set").source

    def peer(index):
        return torch.load(source.paths[index], weights_only=True).numpy()

    yield "mel 40, .pt", source, 128, "conformer", "torch.load", peer
    yield "the same, packed", pack(source, folder / "packed"), 128, "conformer", "torch.load", peer


def audio_sources(rows):
    mfcc = MFCC(num_ceps=30, num_mel_bins=30)
    for name, extractor, n_frames, augment in (
        ("MFCC 30 from wav", mfcc, 200, None),
        ("… noise, rooms", mfcc, 200, standard_augmentation(RATE)),
        ("spectrogram from wav", Spectrogram(), 300, None),
    ):
        yield name, AudioSource(rows, extractor, augment=augment), n_frames, None, "", None


def step_time(name, n_features, n_frames):
    """CPU seconds of one training step on one thread."""
    import torch

    from dnn.losses.table import build_loss
    from dnn.models import build

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(name, n_features=n_features)
    loss = build_loss("softmax", model.head_dim, N_SPEAKERS)
    batch = 4  # a rate per crop hardly depends on it
    inputs = torch.randn(batch, n_frames, n_features)
    labels = torch.arange(batch)

    def step(_):
        model.zero_grad()
        result = loss(model(inputs), labels)
        (result[0] if isinstance(result, tuple) else result).backward()

    return median_time(step) / batch


def main():
    copying = copy_rate()
    print(f"copying memory: {copying / 1e9:.1f} GB/s on one core; medians of {RUNS}, CPU time\n")
    print(
        f"{'source':28} {'crops/s':>8} {'µs/crop':>8} {'of bound':>9}  {'peer':>12} {'ratio':>6}"
        f"  {'network':>12} {'loader is':>10}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_audio(folder)
        with_torch = find_spec("torch") is not None
        for row in stored_sources(folder, rows):
            report(*row, copying, with_torch)
        if with_torch:
            for row in tensor_sources(folder):
                report(*row, copying, with_torch)
        for row in audio_sources(rows):
            report(*row, copying, False)
        source = KaldiSource(folder / "plain.scp")
        masked = batches(source, 200, augment=SpecAugment())
        balanced = batches(source, 200, utterances_per_speaker=4)
        for text, made in (("MFCC 30, SpecAugment", masked), ("MFCC 30, 16 × 4", balanced)):
            taken = median_time(made.get) / BATCH
            print(f"{text:28} {1 / taken:8,.0f} {1e6 * taken:8.1f}")


def report(name, source, n_frames, network, peer_name, load, copying, with_torch):
    taken = median_time(batches(source, n_frames).get) / BATCH
    bound = 4 * n_frames * source.n_features / copying
    line = f"{name:28} {1 / taken:8,.0f} {1e6 * taken:8.1f} {100 * bound / taken:8.0f}%"
    if load is not None:
        peer = median_time(plain(load, len(source), n_frames)) / BATCH
        line += f"  {peer_name:>12} {peer / taken:5.1f}x"
    if network and with_torch:
        step = step_time(network, source.n_features, n_frames)
        line += f"  {network:>12} {step / taken:9,.0f}x"
    print(line, flush=True)


if __name__ == "__main__":
    main()
