"""A tiny training: six speakers, small networks, signals at a chosen step."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import os
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


from dnn.data.batches import CropBatches
from dnn.data.sources import ArraySource
from dnn.losses.table import build_loss
from dnn.models import build
from dnn.training.options import TrainingOptions
from dnn.training.schedules import WarmupCosine
from dnn.training.trainer import Trainer

N_SPEAKERS = 6


def speech(seed=0, n_each=5, nan_at=None):
    """Utterances (20 features) of six speakers that differ in their mean, and labels."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((N_SPEAKERS, 20))
    labels = np.repeat(np.arange(N_SPEAKERS), n_each)
    arrays = [
        (means[s] + 2 * rng.standard_normal((rng.integers(20, 70), 20))).astype(np.float32)
        for s in labels
    ]
    return ArraySource([f"s{s}-u{i}" for i, s in enumerate(labels)], arrays), labels


def batches(**options):
    source, labels = speech()
    return CropBatches(
        source, labels, **{"n_frames": (20, 30), "batch_size": 12, "seed": 4, **options}
    )


def make(folder, given=None, loss="aam-softmax", model="conformer", **options):
    """A trainer of a tiny network; conformers have dropout."""
    torch.manual_seed(1)
    sizes = {
        "conformer": {"n_features": 20, "dim": 16, "n_blocks": 1, "n_heads": 2, "kernel": 5},
        "xvector": {"n_features": 20, "channels": (16, 16, 16, 16, 24), "segment7_dim": 16},
    }
    network = build(model, embedding_dim=12, **sizes[model])
    head = build_loss(loss, network.head_dim, N_SPEAKERS)
    options = {"n_steps": 12, "log_every": 4, "save_every": 5, **options}
    keywords = {
        name: options.pop(name)
        for name in ("validation", "margin", "speakers", "device", "ranks")
        if name in options
    }
    schedule = WarmupCosine(5e-3, max(options["n_steps"], 12), 2)
    trainer = Trainer(
        network, head, given or batches(), folder, TrainingOptions(**options), schedule, **keywords
    )
    return trainer


def weights(folder):
    return (Path(folder) / "network" / "network.safetensors").read_bytes()


class StopAt:
    """Batches in whose making, at a step, a signal comes."""

    def __init__(self, inner, step, action):
        self.inner, self.step, self.action = inner, step, action

    def __getattr__(self, name):
        if name in ("inner", "step", "action"):  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __len__(self):
        return len(self.inner)

    def get(self, step, rows=slice(None)):
        if step == self.step:
            self.action()
        return self.inner.get(step, rows)


class Killed(Exception):
    pass


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def write_features(folder, n_each=4):
    """feats.scp, vad.scp and utt2spk of six speakers, and trials."""
    from ivector.formats.arks import ArkWriter

    source, labels = speech(2, n_each)
    with ArkWriter(folder / "feats") as feats, ArkWriter(folder / "vad") as vad:
        for i, key in enumerate(source.ids):
            frames = source.read(i)
            feats.write(key, frames)
            voiced = np.ones(len(frames), np.float32)
            voiced[::9] = 0
            vad.write(key, voiced)
    lines = "".join(f"{key} spk{s}\n" for key, s in zip(source.ids, labels))
    (folder / "utt2spk").write_text(lines)
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    named = {True: "target", False: "nontarget"}
    trials = "".join(
        f"{source.ids[i]} {source.ids[j]} {named[bool(labels[i] == labels[j])]}\n" for i, j in pairs
    )
    (folder / "trials").write_text(trials)


def command(folder, *more):
    return [
        "-m", "dnn.train", "--features", str(folder / "feats.scp"), "--vad",
        str(folder / "vad.scp"), "--utt2spk", str(folder / "utt2spk"), "--out",
        str(folder / "exp"), "--steps", "4", "--batch-size", "8", "--frames", "18", "24",
        "--threads", "1", "--save-every", "2", "--model-option", "channels=[16,16,16,16,24]",
        *more,
    ]  # fmt: skip
