"""What the commands of `fusion` share: naming systems, telling speakers, options of trial files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ivector.base.errors import UsageError

if TYPE_CHECKING:
    from fusion.formats.speakers import TrialSpeakers
    from fusion.formats.tables import Trials

POOLED = "pooled"


def add_trial_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how scores and trials are read and whose they are."""
    add = parser.add_argument
    add("--utt2spk", type=Path, metavar="FILE",
        help="speakers of the test utterances (and of enrolment), to draw in the bootstrap; "
        "without it they are told from the target trials")  # fmt: skip
    add("--enroll", type=Path, metavar="FILE",
        help="'model utterance...' lines, where a model is named neither as an utterance nor as "
        "a speaker of --utt2spk")  # fmt: skip
    add("--score-column", choices=("auto", "first", "last"), default="auto",
        help="where the score stands, if ids are numbers too")  # fmt: skip
    add("--subset", action="store_true",
        help="let score files hold pairs that are not in TRIALS, to measure a part")  # fmt: skip
    add("--allow-duplicates", action="store_true",
        help="count a trial that is listed several times as often")  # fmt: skip


def check_trial_options(arguments: argparse.Namespace) -> None:
    """Refuse options of `add_trial_options` that make no sense together."""
    if arguments.enroll and not arguments.utt2spk:
        raise UsageError("--enroll: needs --utt2spk, which has the speakers of its utterances")


def systems(given: list[str], pool: bool = False) -> dict[str, list[Path]]:
    """Score files of each system, by name, in the order given.

    Parameters
    ----------
    given : list of str
        ``NAME=FILE``, or a file, whose stem is then the name.
    pool : bool
        Whether files of the same name (all, if none is named) are parts of one system.

    Raises
    ------
    UsageError
        A name without a file, or several files of one name without `pool`.
    """
    found: dict[str, list[Path]] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or os.path.exists(text):
            name, file = "", text
        if equals and not file:
            raise UsageError(f"{text}: give NAME=FILE")
        path = Path(file)
        stem = Path(path.stem).stem if path.suffix == ".gz" else path.stem
        found.setdefault(name or (POOLED if pool else stem), []).append(path)
    twice = [name for name, paths in found.items() if len(paths) > 1]
    if twice and not pool:
        raise UsageError(
            f"{len(found[twice[0]])} score files are named {twice[0]!r}; name them with "
            "NAME=FILE, or give --pool if they are parts of one system"
        )
    return found


def speakers(
    trials: Trials, utt2spk: str | os.PathLike | None, enroll: str | os.PathLike | None
) -> TrialSpeakers:
    """Speakers of trials: by the maps of files, or as far as the target trials tell them.

    Raises
    ------
    DataError
        What the readers of the maps and `mapped_speakers` raise.
    """
    from fusion.formats.speakers import linked_speakers, mapped_speakers, read_enrolments, read_map

    if not utt2spk:
        return linked_speakers(trials)
    speaker = read_map(utt2spk)
    models = read_enrolments(enroll, speaker) if enroll else None
    return mapped_speakers(trials, speaker, models)
