"""Simulated scores whose speakers are harder or easier, on either side, and whose truth is known.

A score is the mean of its class, plus effects of its two speakers (of one for targets), of its two
recordings, and of the pair. The truth is measured on trials none of which share a speaker: their
scores have the same distribution, and so many of them leave no doubt.

Dimension legend: N trials.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Scenario:
    """How trials are made.

    Parameters
    ----------
    models : bool
        Whether one model a speaker meets every test recording; otherwise recordings meet each
        other, as `kept` and `others` say.
    n_speakers, n_recordings : int
    separation : float
        Deviation of the ideal log-likelihood ratios; the EER is about Phi(-separation / 2).
    speaker, recording : float
        Parts of the variance that speakers, and recordings, make on either side.
    skewed : bool
        Whether a few speakers are much worse than the rest (gamma distribution of shape 2,
        skewness 1.4), and the noise of pairs differs between speakers.
    scale, shift : float
        Scores are ideal log-likelihood ratios times `scale` plus `shift`.
    kept, others : float
        Parts of the pairs of recordings, of one and of two speakers, that are trials.
    linked : bool
        Whether speakers are only known as far as the target trials tell.
    """

    models: bool
    n_speakers: int
    n_recordings: int
    separation: float = 3.3
    speaker: float = 0.12
    recording: float = 0.08
    skewed: bool = False
    scale: float = 1.0
    shift: float = 0.0
    kept: float = 1.0
    others: float = 0.3
    linked: bool = False


SCENARIOS = {
    "models-50": Scenario(True, 50, 4),
    "models-100": Scenario(True, 100, 3),
    "uncalibrated-80": Scenario(True, 80, 3, speaker=0.25, recording=0.05, scale=0.8, shift=0.5),
    "pairs-60": Scenario(False, 60, 4, separation=3.6, recording=0.1, scale=1.2, shift=-0.7),
    "skewed-50": Scenario(
        False, 50, 4, separation=3.6, speaker=0.15, recording=0.1, skewed=True, scale=1.2,
        shift=-0.7,
    ),
    "skewed-100": Scenario(
        False, 100, 3, separation=3.6, speaker=0.15, recording=0.1, skewed=True, scale=1.2,
        shift=-0.7,
    ),
    "few-errors-60": Scenario(True, 60, 4, separation=4.6),
    "few-errors-80": Scenario(True, 80, 4, separation=4.6),
    "rare-60": Scenario(False, 60, 8, separation=5.6),  # EER 0.25 %
    "rarest-60": Scenario(True, 60, 4, separation=5.6),  # less than one miss
    "models-20": Scenario(True, 20, 10),
    "pairs-20": Scenario(False, 20, 6, separation=3.6, recording=0.1),
    "skewed-20": Scenario(False, 20, 6, separation=3.6, speaker=0.15, recording=0.1, skewed=True),
    "crossed-60": Scenario(True, 60, 4, speaker=0.05, recording=0.3),
    "crossed-120": Scenario(True, 120, 2, speaker=0.05, recording=0.35),
    "crossed-pairs-40": Scenario(False, 40, 5, separation=3.6, speaker=0.05, recording=0.3),
    "linked-40": Scenario(False, 40, 10, separation=3.6, kept=0.5, others=0.1, linked=True),
    "linked-sparse-40": Scenario(
        False, 40, 20, separation=3.6, kept=0.06, others=0.01, linked=True
    ),
}  # fmt: skip


class Trials(NamedTuple):
    """Speakers and recordings of both sides, (N,) each."""

    enrol: np.ndarray
    test: np.ndarray
    enrol_recording: np.ndarray
    test_recording: np.ndarray


def design(scenario: Scenario, rng: np.random.Generator) -> Trials:
    """Trials of one repetition."""
    n, m = scenario.n_speakers, scenario.n_recordings
    if scenario.models:
        enrol, recording = np.repeat(np.arange(n), n * m), np.tile(np.arange(n * m), n)
        return Trials(enrol, recording // m, n * m + enrol, recording)
    one, two = np.triu_indices(n * m, 1)
    same = one // m == two // m
    keep = same | (rng.random(one.size) < scenario.others)
    if scenario.kept < 1:
        keep &= ~same | (rng.random(one.size) < scenario.kept)
    one, two = one[keep], two[keep]
    return Trials(one // m, two // m, one, two)


def strangers(n: int) -> Trials:
    """Trials that share nothing, the first half targets."""
    number = np.arange(n)
    return Trials(number, np.where(number < n // 2, number, n + number), number, n + number)


class Effects:
    """What makes scores of a world's trials higher or lower.

    Parameters
    ----------
    scenario : Scenario
    trials : Trials
    rng : numpy.random.Generator
    """

    def __init__(self, scenario: Scenario, trials: Trials, rng: np.random.Generator):
        self.scenario, self.trials = scenario, trials
        n_speakers = 1 + max(trials.enrol.max(), trials.test.max())
        n_recordings = 1 + max(trials.enrol_recording.max(), trials.test_recording.max())
        self.own, self.other = (self._speakers(rng, n_speakers) for _ in range(2))
        self.recording = rng.normal(size=n_recordings)
        self.pair = rng.normal(size=trials.enrol.size)
        if scenario.skewed:
            noise = np.exp(0.15 * rng.normal(size=n_speakers) - 0.0225)
            self.pair *= noise[trials.enrol] * noise[trials.test]

    def _speakers(self, rng: np.random.Generator, n: int) -> np.ndarray:
        if self.scenario.skewed:
            return (2 - rng.gamma(2.0, size=n)) / np.sqrt(2)
        return rng.normal(size=n)

    def twin(self, rng: np.random.Generator, common: float = 0.5) -> Effects:
        """Effects of an equally good system, of which a part of `common` is the same."""
        found = Effects(self.scenario, self.trials, rng)
        for name in ("own", "other", "recording", "pair"):
            values = getattr(found, name)
            same = rng.random(values.size) < common
            values[same] = getattr(self, name)[same]
        return found

    def scores(self, separation: float | None = None) -> np.ndarray:
        """Scores (N,), by default as separate as the scenario says."""
        world, trials = self.scenario, self.trials
        target = trials.enrol == trials.test
        speakers = np.where(
            target,
            np.sqrt(2) * self.own[trials.enrol],
            self.other[trials.enrol] + self.other[trials.test],
        )
        recordings = self.recording[trials.enrol_recording] + self.recording[trials.test_recording]
        rest = 1 - 2 * world.speaker - 2 * world.recording
        deviation = (
            np.sqrt(world.speaker) * speakers
            + np.sqrt(world.recording) * recordings
            + np.sqrt(rest) * self.pair
        )
        width = world.separation if separation is None else separation
        ideal = np.where(target, 0.5, -0.5) * width**2 + width * deviation
        return world.scale * ideal + world.shift


def run_scenarios(
    doc: str,
    run: Callable[[str, range, int, int, int], None],
    *,
    repetitions: int,
    bootstrap: int,
    truth: int,
    parts: int,
) -> None:
    """Command line of a benchmark over the scenarios; defaults, and times that `truth` is made."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition")
    parser.add_argument("--bootstrap", type=int, default=bootstrap, help="replicates")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--truth", type=int, default=truth, help=f"trials, {parts} times")
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.repetitions)
    for name in arguments.scenario:
        run(name, seeds, arguments.bootstrap, arguments.jobs, arguments.truth)
