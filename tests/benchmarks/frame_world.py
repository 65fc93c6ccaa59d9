"""Frames that are drawn on the fly with the statistics of real ones, for benchmarks of any size.

A mixture with diagonal covariances is fitted to the frames of real recordings, and of each of its
components the chance that the next frame belongs to it again; of each dimension the correlation
of neighbouring frames' residuals. Utterances are then drawn from that Markov chain with
first-order autoregressive residuals, with means shifted in a few random directions, one utterance
unlike the other. An utterance depends on the seed and its number alone, so that a corpus of any
length takes no room and its shards may be made anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from ivector.features.audio import read_audio
from ivector.features.extractors import MFCC
from ivector.features.vad import EnergyVAD, voiced_or_loudest
from ivector.gmm.diagonal import DiagonalGMM
from ivector.pipeline import FrontEnd

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "corpora" / "speechocean762"
NUM_CEPS = 20  # 60 dimensions with deltas
DIRECTIONS, SPREAD = 20, 0.25  # of an utterance's means; standard deviations along each
SHORTEST, LONGEST = 400, 1200  # frames of an utterance; 8 s on average

spent = {"seconds": 0.0}  # processor time that this process has given to drawing


@dataclass(frozen=True)
class World:
    """What frames are drawn from.

    cumulative (C,) sums of weights; stay (C,) chance of the same component again; means, scale
    (C, D); memory (D,) correlation of neighbouring residuals; directions (K, C, D).
    """

    cumulative: np.ndarray
    stay: np.ndarray
    means: np.ndarray
    scale: np.ndarray
    memory: np.ndarray
    directions: np.ndarray

    def n_frames(self, seed: int, number: int) -> int:
        """Frames of an utterance."""
        return int(_stream(seed, number).integers(SHORTEST, LONGEST + 1))

    def utterance(self, seed: int, number: int) -> np.ndarray:
        """Frames of utterance `number`, (n_frames, D) float32."""
        start = time.process_time()
        rng = _stream(seed, number)
        n = int(rng.integers(SHORTEST, LONGEST + 1))
        shift = np.tensordot(rng.standard_normal(len(self.directions)), self.directions, 1)
        out = rng.standard_normal((n, self.means.shape[1]), dtype=np.float32)
        means = (self.means + shift).astype(np.float32)
        _draw(rng.random(2 * n), self.cumulative, self.stay, means, self.scale, self.memory, out)
        spent["seconds"] += time.process_time() - start
        return out


@dataclass(frozen=True)
class WorldShard:
    """Loader of utterances `first` up to `last` as one block of frames."""

    world: World
    seed: int
    first: int
    last: int

    def utterances(self) -> Iterator[np.ndarray]:
        """Yield the utterances one by one."""
        return (self.world.utterance(self.seed, i) for i in range(self.first, self.last))

    def __call__(self) -> np.ndarray:
        return np.concatenate(list(self.utterances()))


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, number]))


@numba.njit(cache=True)
def _draw(uniform, cumulative, stay, means, scale, memory, out):
    """Turn white noise (n, D) in `out` into frames of the chain."""
    last = len(cumulative) - 1
    component = min(np.searchsorted(cumulative, uniform[0], side="right"), last)
    residual = out[0].copy()
    fresh = np.sqrt(1 - memory * memory)
    for t in range(len(out)):
        if t:
            if uniform[2 * t] >= stay[component]:
                component = np.searchsorted(cumulative, uniform[2 * t + 1], side="right")
                component = min(component, last)
            for d in range(out.shape[1]):
                residual[d] = memory[d] * residual[d] + fresh[d] * out[t, d]
        for d in range(out.shape[1]):
            out[t, d] = means[component, d] + scale[component, d] * residual[d]


def make_world(n_components: int, seed: int = 0) -> tuple[World, str]:
    """Fit a world to real frames where there are some, else to the synthetic corpus."""
    utterances, source = _real_frames()
    frames = np.concatenate(utterances)
    model = DiagonalGMM(n_components, n_iter=5, random_state=seed).fit(frames)
    labels = [model.predict(one) for one in utterances]
    scale = np.sqrt(model.covariances_)
    again = np.zeros((2, n_components))
    product = np.zeros((2, frames.shape[1]))
    for one, label in zip(utterances, labels):
        np.add.at(again[0], label[:-1], label[1:] == label[:-1])
        np.add.at(again[1], label[:-1], 1)
        residual = (one - model.means_[label]) / scale[label]
        product[0] += (residual[1:] * residual[:-1]).sum(0)
        product[1] += (residual[1:] ** 2).sum(0)
    rng = np.random.default_rng(seed)
    spread = SPREAD * rng.standard_normal((DIRECTIONS, *scale.shape)) * scale
    world = World(
        np.cumsum(model.weights_),
        (again[0] / np.maximum(again[1], 1)).astype(np.float64),
        model.means_.astype(np.float32),
        scale.astype(np.float32),
        np.clip(product[0] / product[1], 0, 0.99).astype(np.float32),
        spread,
    )
    return world, f"{source}, {len(frames)} frames"


def _real_frames() -> tuple[list[np.ndarray], str]:
    """Frames of some recordings as the models see them, (n_frames, D) each, and whose they are."""
    mfcc, vad, front_end = MFCC(num_ceps=NUM_CEPS), EnergyVAD(), FrontEnd()
    utterances = []
    waves, source = _recordings()
    for samples in waves:
        static = mfcc.transform(samples)
        utterances.append(front_end.apply(static, voiced_or_loudest(static, vad)[0]))
    return utterances, source


def _recordings() -> tuple[Iterator[np.ndarray], str]:
    files = sorted(SHARED.rglob("*.flac"))[::8]
    if files:
        return (read_audio(path, 16000)[0] for path in files), "recordings of speechocean762"
    from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise

    def made() -> Iterator[np.ndarray]:
        for i in range(40):
            rng = np.random.default_rng([0, i])
            samples = synthesise(draw_speaker(rng), draw_session(rng), 6.0, 16000, rng)
            yield (32768 * samples).astype(np.float32)

    return made(), "synthetic corpus"
