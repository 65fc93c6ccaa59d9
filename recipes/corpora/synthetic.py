"""The embedded default: generated, speech-like recordings in two folds; needs nothing.

See `recipes.corpora.synthesis` for how a recording is made. Every utterance has its own random
stream, (seed, speaker, session), so that the number of jobs, the order and an interruption change
no byte. Results on it are no results on speech.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ivector.base.errors import UsageError
from ivector.base.files import atomic_write
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from recipes.corpora.common import Corpus, Recording, two_folds
from recipes.corpora.layout import finish
from recipes.engine.marks import remove_temporary

VERSION = 1  # raised when the same seed would give other recordings
SPEAKERS, SESSIONS, RATE, SEED = 60, 6, 8000, 1
SECONDS = (4.0, 7.0)


class Job(NamedTuple):
    """What one worker needs to make the recordings of a speaker."""

    folder: Path
    seed: int
    speaker: int
    sessions: int
    rate: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    parser.add_argument(
        "--speakers",
        type=int,
        default=SPEAKERS,
        help="number of generated speakers; more make a steadier error rate and take longer",
    )
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="recordings of each speaker")
    parser.add_argument("--rate", type=int, default=RATE, help="sampling rate in Hz")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="another seed gives other speakers and sentences"
    )


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    speakers: int = SPEAKERS,
    sessions: int = SESSIONS,
    rate: int = RATE,
    seed: int = SEED,
    nj: int = 1,
    strict: bool = False,
) -> dict[str, int]:
    """Generate the recordings that are missing, and write the layout.

    Parameters
    ----------
    corpus_dir : path-like or None
        Where the recordings go; None: ``out_dir/audio``.
    out_dir : path-like
    speakers, sessions, rate, seed : int
        Number of speakers, of recordings of each, Hz, and the seed of everything.
    nj : int
        Number of processes; changes no byte.
    strict : bool
        Stop at a recording that cannot be read back.

    Returns
    -------
    counts : dict of str to int
    """
    if speakers < 4 or sessions < 2:
        raise UsageError("--speakers must be at least 4 and --sessions at least 2")
    if not 8000 <= rate <= 48000:
        raise UsageError(f"--rate must be 8000 to 48000 Hz, got {rate}")
    if seed < 0:
        raise UsageError(f"--seed must not be negative, got {seed}")
    # Recordings of other options have other names, so that none is taken for another.
    root = Path(corpus_dir) if corpus_dir else Path(out_dir) / "audio"
    folder = root / f"v{VERSION}-seed{seed}-{rate}Hz"
    jobs = [Job(folder, seed, i, sessions, rate) for i in range(speakers)]
    made = map_shards(make_speaker, jobs, nj)
    genders = dict(progress(made, len(jobs), "generating", "speakers"))
    remove_temporary(folder)  # of a run that was killed
    recordings = [
        Recording(f"{name}-{i:02d}", name, folder / name / f"{name}-{i:02d}.flac")
        for name in genders
        for i in range(sessions)
    ]
    folds = two_folds({r.utterance: r.speaker for r in recordings}, enrol_utts=1)
    return finish(Corpus(recordings, folds, genders), Path(out_dir), strict)


def make_speaker(job: Job) -> tuple[str, str]:
    """Make a speaker's recordings where they are missing.

    Returns
    -------
    speaker, gender : str
    """
    import soundfile

    from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise

    speaker = draw_speaker(stream(job.seed, job.speaker))
    name = f"s{job.speaker:04d}"
    for i in range(job.sessions):
        path = job.folder / name / f"{name}-{i:02d}.flac"
        if path.exists():
            continue
        rng = stream(job.seed, job.speaker, i)
        session = draw_session(rng)
        samples = synthesise(speaker, session, float(rng.uniform(*SECONDS)), job.rate, rng)
        pcm = np.round(samples * 32767).astype(np.int16)
        packed = io.BytesIO()  # libsndfile does not say that a disk is full
        soundfile.write(packed, pcm, job.rate, subtype="PCM_16", format="FLAC")
        with atomic_write(path) as file:
            file.write(packed.getvalue())
    return name, speaker.gender


def stream(seed: int, *keys: int) -> np.random.Generator:
    """Random stream of a speaker, or of a speaker's session, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))
