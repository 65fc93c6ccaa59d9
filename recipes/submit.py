"""Submissions to tiny-voxceleb of every system and of their fusion: ``python -m recipes.submit``.

``--list dev=FILE --list eval=FILE --out DIR NAME=FOLDER ...`` reads ``FOLDER/PART.txt`` (``score id
id``) or what ``run.sh`` leaves of a fold (``scores``, ``scores-PART``). Dev, whose truth is known,
teaches the linear fusion of the systems and tells the best of them. For each, and for ``fusion``
and ``best``, it writes ``DIR/NAME/PART.txt`` and ``DIR/NAME.txt``, dev and eval together, as the
leaderboard takes it: ``score id id`` in the lists' order, between 0 and 1. What ``--submit`` names
is ``DIR/PART.txt`` and ``DIR/submission.txt``, too.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ivector.base.cli import Parser, run
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write
from recipes.commands import COMMANDS

if TYPE_CHECKING:
    import numpy as np

    from fusion.calibration.linear import LinearFusion
    from fusion.formats.tables import Trials

PARTS = ("val", "dev", "eval")
LEARNT_FROM = "dev"
JOINED = ("dev", "eval")
BEST, FUSED = "best", "fusion"
POINT = 0.01


class Part(NamedTuple):
    """A trial list and the scores of all systems, (n_trials, n_systems), in its order."""

    trials: Trials
    scores: np.ndarray


def read_part(name: str, trial_list: Path, folders: Sequence[Path]) -> Part:
    """Scores of a list by all systems.

    Raises
    ------
    DataError
        A list or a score file is missing, or a trial has no score.
    """
    import numpy as np

    from fusion.formats.files import align, read_scores, read_trials

    trials = read_trials(trial_list)
    columns = []
    for folder in folders:
        path, column = folder / f"{name}.txt", "first"
        if not path.is_file():
            path, column = folder / ("scores" if name == LEARNT_FROM else f"scores-{name}"), "last"
        if not path.is_file():
            raise DataError(f"{folder}: holds neither {name}.txt nor {path.name}; score it first")
        scored = align(read_scores(path, column), trials, allow_duplicates=True)
        columns.append(scored.values)
    return Part(trials, np.column_stack(columns))


def submissions(
    parts: Mapping[str, Part], names: Sequence[str], utt2spk: dict[str, str]
) -> dict[str, dict[str, np.ndarray]]:
    """Scores between 0 and 1 of each system, of the best and of the fusion, by part.

    Parameters
    ----------
    parts : mapping of str to Part
        "dev", with labels, among them.
    names : sequence of str (n_systems,)
    utt2spk : dict of str to str
        Speakers of dev's utterances, by whom the fusion is judged.
    """
    from recipes.normalise_scores import to_unit_interval

    found = {
        name: {part: one.scores[:, k] for part, one in parts.items()}
        for k, name in enumerate(names)
    }
    errors = _error_rates(parts[LEARNT_FROM], names)
    best = min(names, key=errors.__getitem__)
    if len(names) > 1:
        fused = _learn(parts[LEARNT_FROM], names, utt2spk)
        found[FUSED] = {part: fused.transform(one.scores) for part, one in parts.items()}
    for name, scores in found.items():
        inside = all(one.min() >= 0 and one.max() <= 1 for one in scores.values())
        if not inside:
            found[name] = {part: to_unit_interval(one) for part, one in scores.items()}
    print(f"best single system on dev: {best}, EER {100 * errors[best]:.2f} %")
    return {**found, BEST: found[best]}


def _error_rates(dev: Part, names: Sequence[str]) -> dict[str, float]:
    from fusion.formats.tables import ScoredTrials
    from fusion.metrics.curve import OperatingPoints

    columns = (ScoredTrials(dev.trials, column).split() for column in dev.scores.T)
    return {name: OperatingPoints(*split).eer() for name, split in zip(names, columns)}


def _learn(dev: Part, names: Sequence[str], utt2spk: dict[str, str]) -> LinearFusion:
    """Fuse all systems; say what each brings on speakers of dev that the fusion has not seen."""
    from fusion.calibration.linear import LinearFusion
    from fusion.calibration.worth import Contest
    from fusion.formats.layouts import TARGET
    from fusion.formats.speakers import mapped_speakers
    from fusion.metrics.points import OperatingPoint

    target = dev.trials.labels == TARGET
    fusion = LinearFusion(bounded=True, non_negative=True, names=names)
    speakers = mapped_speakers(dev.trials, utt2spk, utt2spk)
    contest = Contest(fusion, dev.scores, target, speakers, [OperatingPoint(POINT)])
    for row in (*contest.parts(), contest.fused()):
        print(f"dev, calibrated by its other speakers: {row.name}: EER {100 * row.eer:.2f} %")
    return fusion.fit(dev.scores, target)


def write(
    out: Path,
    name: str,
    parts: Mapping[str, Part],
    scores: Mapping[str, np.ndarray],
) -> None:
    """Write a system's files: of each part, and of dev and eval together."""
    for path, used in [(out / name / f"{part}.txt", [part]) for part in parts] + [
        (out / f"{name}.txt", [part for part in JOINED if part in parts])
    ]:
        with atomic_write(path, "w") as file:
            for part in used:
                trials = parts[part].trials
                enrol = (trials.enrol_ids[i] for i in trials.enrol)
                test = (trials.test_ids[i] for i in trials.test)
                rows = zip(scores[part].tolist(), enrol, test)
                file.writelines(f"{score:.7g} {one} {two}\n" for score, one, two in rows)


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(prog="python -m recipes.submit", description=COMMANDS["submit"].sentence)
    add = parser.add_argument
    add("systems", nargs="+", metavar="NAME=FOLDER", help="scores of a system, a file a list")
    add("--list", dest="lists", action="append", required=True, metavar="PART=FILE",
        help=f"a trial list of {', '.join(PARTS)}; {LEARNT_FROM} is needed")  # fmt: skip
    add("--utt2spk", type=Path, required=True, metavar="FILE", help="speakers of dev's utterances")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the submissions")
    add("--submit", default=BEST, metavar="NAME",
        help=f"which one is submission.txt: a system, {BEST} or {FUSED}")  # fmt: skip
    return parser


def _pairs(words: Sequence[str], option: str) -> dict[str, Path]:
    pairs = [word.partition("=") for word in words]
    for name, _, path in pairs:
        if not name or not path or name in (BEST, FUSED) or "/" in name:
            raise UsageError(f"{option}: takes NAME=PATH, got {name!r} and {path!r}")
    if len({name for name, *_ in pairs}) < len(pairs):
        raise UsageError(f"{option}: a name is given twice")
    return {name: Path(path) for name, _, path in pairs}


def main(arguments: argparse.Namespace) -> None:
    """Read, fuse, write."""
    from fusion.formats.speakers import read_map

    systems, lists = _pairs(arguments.systems, "SYSTEMS"), _pairs(arguments.lists, "--list")
    if LEARNT_FROM not in lists or set(lists) - set(PARTS):
        raise UsageError(f"--list: takes {', '.join(PARTS)}, {LEARNT_FROM} among them")
    offered = [*systems, BEST, *[FUSED] * (len(systems) > 1)]
    if arguments.submit not in offered:
        raise UsageError(f"--submit: takes {', '.join(offered)}, not {arguments.submit!r}")
    parts = {
        name: read_part(name, lists[name], list(systems.values()))
        for name in PARTS
        if name in lists
    }
    found = submissions(parts, list(systems), read_map(arguments.utt2spk))
    out: Path = arguments.out
    for name, scores in found.items():
        write(out, name, parts, scores)
    for part in parts:
        shutil.copyfile(out / arguments.submit / f"{part}.txt", out / f"{part}.txt")
    shutil.copyfile(out / f"{arguments.submit}.txt", out / "submission.txt")
    n_lines = sum(len(parts[part].trials) for part in JOINED if part in parts)
    print(f"{out / 'submission.txt'}: {arguments.submit}, {n_lines} trials")


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
