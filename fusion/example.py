"""Simulated scores to try the commands on: ``python -m fusion.example OUT_DIR``.

Writes a development and an evaluation part, whose speakers are different, each with

- ``cosine.scores``, ``plda.scores``, ``gmm.scores``: three systems on the same trials, with a scale
  of their own each; the last has not scored recordings that were too short for it;
- ``trials``: all pairs of recordings of one gender; ``utt2spk``: who speaks;
- ``columns.csv``: gender, duration and signal-to-noise ratio of every recording.

The recordings are points in a space of speakers, not speech: the numbers show what the commands
do and are no result. The same seed writes the same bytes.

Dimension legend: S speakers, R recordings a speaker, N = S R recordings, D dimensions, T trials.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusion.commands import COMMANDS
from ivector.base.cli import SEED, Parser, run, whole

if TYPE_CHECKING:
    import numpy as np

_RECORDINGS = 4
_FIRST = {"dev": 1, "eval": 501}  # number of the first speaker
_MOST = 500  # speakers of a part, so that numbers do not meet
_DIMENSIONS = 24
_SHORTEST = 3.0  # seconds that the system "gmm" asks for


@dataclass(frozen=True)
class Part:
    """Trials of one part, and what three systems say of them.

    Parameters
    ----------
    ids : list of str (N,)
        Recordings.
    speaker : list of str (N,)
    gender : list of str (N,)
        "f" or "m".
    duration : ndarray (N,) float64
        Seconds.
    snr : ndarray (N,) float64
        Signal-to-noise ratio, dB.
    enrol, test : ndarray (T,)
        Positions in `ids`.
    scores : dict of str to ndarray (T,) float64
        By system; NaN where it has none.
    """

    ids: list[str]
    speaker: list[str]
    gender: list[str]
    duration: np.ndarray
    snr: np.ndarray
    enrol: np.ndarray
    test: np.ndarray
    scores: Mapping[str, np.ndarray]

    @property
    def target(self) -> np.ndarray:
        """Whether each trial (T,) is of one speaker."""
        import numpy as np

        speaker = np.array(self.speaker)
        return speaker[self.enrol] == speaker[self.test]

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers from 0 of the speaker of either side of each trial (T,)."""
        import numpy as np

        speaker = np.unique(self.speaker, return_inverse=True)[1]
        return speaker[self.enrol], speaker[self.test]


def simulate(n_speakers: int, first: int = 1, random_state: int = 0) -> Part:
    """Draw speakers, their recordings, and the scores of all pairs of one gender.

    Every system has vectors y = u + e of its own, u of the speaker, e of the recording, half of
    whose variance it shares with the others, so that systems err together but not always. The
    variance of e is larger in short and in noisy recordings.

    Parameters
    ----------
    n_speakers : int
        Even, as half are women.
    first : int
        Number of the first speaker, for the names.
    random_state : int
    """
    import numpy as np

    rng = np.random.default_rng([random_state, first])
    n = n_speakers * _RECORDINGS
    whose = np.repeat(np.arange(n_speakers), _RECORDINGS)
    female = whose % 2 == 0
    duration = np.exp(rng.uniform(np.log(2), np.log(30), n)).round(2)
    snr = rng.uniform(5, 25, n).round(1)
    # Women are a little harder to tell apart here, so that conditions differ.
    spread = np.where(female, 0.93, 1.05)[:, None]
    noise = np.sqrt(0.2 + 2.8 / duration + 0.5 * 10 ** (-snr / 20))[:, None]

    common = rng.standard_normal((n_speakers, _DIMENSIONS)), rng.standard_normal((n, _DIMENSIONS))
    vectors = {}
    for system in ("cosine", "plda", "gmm"):
        own = rng.standard_normal((n_speakers, _DIMENSIONS)), rng.standard_normal((n, _DIMENSIONS))
        between, within = (np.sqrt(0.5) * (a + b) for a, b in zip(common, own))
        vectors[system] = spread * between[whose] + noise * within
    enrol, test = np.triu_indices(n, 1)
    kept = female[enrol] == female[test]
    enrol, test = enrol[kept], test[kept]
    scores = {
        "cosine": _cosine(vectors["cosine"], enrol, test),
        "plda": _plda(vectors["plda"], enrol, test, within=0.35),
        "gmm": _plda(vectors["gmm"][:, : 2 * _DIMENSIONS // 3], enrol, test, within=2.0) / 8 - 0.2,
    }
    scores["gmm"][np.minimum(duration[enrol], duration[test]) < _SHORTEST] = np.nan
    return Part(
        ids=[f"spk{first + s:03d}-{k % _RECORDINGS + 1}" for k, s in enumerate(whose)],
        speaker=[f"spk{first + s:03d}" for s in whose],
        gender=["f" if one else "m" for one in female],
        duration=duration,
        snr=snr,
        enrol=enrol,
        test=test,
        scores=scores,
    )


def _cosine(y: np.ndarray, enrol: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Cosines (T,) of pairs of vectors (N, D)."""
    import numpy as np

    y = y / np.sqrt((y**2).sum(axis=1, keepdims=True))
    return (y[enrol] * y[test]).sum(axis=1)


def _plda(y: np.ndarray, enrol: np.ndarray, test: np.ndarray, within: float) -> np.ndarray:
    """Log-likelihood ratios (T,) of a two-covariance model, of variances 1 and `within`.

    They are right if `within` is; the smaller it is, the more they claim.
    """
    import numpy as np

    total = 1 + within
    square = (y**2).sum(axis=1)
    product = (y[enrol] * y[test]).sum(axis=1)
    both = total * (square[enrol] + square[test]) - 2 * product
    apart = (square[enrol] + square[test]) / total
    constant = -0.5 * y.shape[1] * np.log1p(-(total**-2))
    return constant - 0.5 * (both / (total**2 - 1) - apart)


def write_part(folder: Path, part: Part) -> None:
    """Write the files of a part to a folder, which is made."""
    import numpy as np

    from fusion.formats.files import write_scores
    from ivector.base.files import write_text

    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(part.ids[a], part.ids[b]) for a, b in zip(part.enrol, part.test)]
    for system, scores in part.scores.items():
        there = np.flatnonzero(~np.isnan(scores))
        enrol, test = zip(*(pairs[k] for k in there))
        write_scores(folder / f"{system}.scores", enrol, test, scores[there], decimals=4)
    labels = np.where(part.target, "target", "nontarget")
    write_text(
        folder / "trials", "".join(f"{a} {b} {what}\n" for (a, b), what in zip(pairs, labels))
    )
    write_text(
        folder / "utt2spk", "".join(f"{utt} {who}\n" for utt, who in zip(part.ids, part.speaker))
    )
    rows = zip(part.ids, part.gender, part.duration, part.snr)
    write_text(
        folder / "columns.csv",
        "id,gender,duration,snr\n" + "".join(f"{i},{g},{d:.2f},{q:.1f}\n" for i, g, d, q in rows),
    )


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.example",
        usage="%(prog)s OUT_DIR [options]",
        description=COMMANDS["example"].sentence,
    )
    add = parser.add_argument
    add("out", metavar="OUT_DIR", type=Path, help="folder to write dev/ and eval/ to")
    add("--dev-speakers", type=whole(10, _MOST), default=60, metavar="N",
        help="speakers of the development part, an even number")  # fmt: skip
    add("--eval-speakers", type=whole(10, _MOST), default=60, metavar="N",
        help="speakers of the evaluation part, an even number")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of the simulation")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Simulate both parts and write them."""
    from ivector.base.errors import UsageError

    sizes = {"dev": arguments.dev_speakers, "eval": arguments.eval_speakers}
    for name, size in sizes.items():
        if size % 2:
            raise UsageError(f"--{name}-speakers: give an even number, as half are women")
    for name, size in sizes.items():
        part = simulate(size, _FIRST[name], arguments.seed)
        folder = arguments.out / name
        write_part(folder, part)
        print(
            f"{folder}: {size} speakers, {len(part.ids)} recordings, {len(part.enrol)} trials "
            f"({part.target.sum()} targets)"
        )
    print(
        f"in each: {', '.join(f'{name}.scores' for name in part.scores)}, trials, utt2spk, "
        "columns.csv; simulated, no result"
    )


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
