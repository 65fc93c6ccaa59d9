"""What the corpora share: finding recordings, making trials, reading protocols."""

from __future__ import annotations

import argparse
import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.data import Trial, read_enroll, read_table, read_trials
from ivector.recordings import AUDIO, find_audio, find_files, safe_id

__all__ = ["AUDIO", "find_audio", "find_files", "safe_id"]

logger = logging.getLogger("prepare")


class Recording(NamedTuple):
    """One utterance of a corpus."""

    utterance: str
    speaker: str
    path: Path


@dataclass
class Fold:
    """Training material, enrolments and trials of one fold.

    `more` holds further trial lists by name. Those named in `closed_set` may test speakers of
    the training material (a validation list); every other list may not.
    """

    train: dict[str, str]
    enroll: dict[str, list[str]]
    trials: list[Trial]
    more: dict[str, list[Trial]] = field(default_factory=dict)
    closed_set: Collection[str] = ()


@dataclass
class Corpus:
    """Recordings and folds, as found; `recipes.corpora.layout.finish` checks and writes them.

    `checked` says that `recipes.corpora.layout.usable` has seen the recordings already.
    """

    recordings: list[Recording]
    folds: list[Fold]
    genders: dict[str, str] = field(default_factory=dict)
    checked: bool = False


def need_folder(corpus_dir: str | os.PathLike | None, what: str) -> Path:
    """Return `corpus_dir` as a path, or say that it is missing and `what` it should hold."""
    if corpus_dir is None or not os.fspath(corpus_dir):
        raise UsageError(f"--corpus-dir is needed: the folder that holds {what}")
    path = Path(corpus_dir)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; --corpus-dir must hold {what}")
    return path


def first_utterances(count: int | None, available: int) -> int:
    """Return how many utterances enrol a speaker who has `available` (3 of 6 or more, else 1)."""
    return (3 if available >= 6 else 1) if count is None else count


def all_pairs(
    enroll: Mapping[str, list[str]],
    tests: Mapping[str, str],
    speaker_of: Mapping[str, str],
    max_trials: int | None = None,
) -> list[Trial]:
    """Pair every enrolment with every test utterance.

    Parameters
    ----------
    enroll : mapping of str to list of str
        Enrolment id to utterances.
    tests : mapping of str to str
        Test utterance to speaker.
    speaker_of : mapping of str to str
        Enrolment id to speaker.
    max_trials : int, optional
        When there would be more, all target trials stay and non-target trials are drawn (always
        the same ones).
    """
    trials = [
        Trial(enrol, test, speaker_of[enrol] == tests[test])
        for enrol in sorted(enroll)
        for test in sorted(tests)
    ]
    if max_trials is None or len(trials) <= max_trials:
        return trials
    nontargets = [i for i, trial in enumerate(trials) if not trial.is_target]
    n_kept = max(0, max_trials - (len(trials) - len(nontargets)))
    rng = np.random.default_rng(0)
    dropped = set(rng.permutation(nontargets)[n_kept:].tolist())
    return [trial for i, trial in enumerate(trials) if i not in dropped]


def split_speaker(
    utterances: Iterable[str], enrol_utts: int | None, speaker: str
) -> tuple[list[str], list[str]]:
    """Split a speaker's utterances: the first ones enrol, the others test."""
    ordered = sorted(utterances)
    count = first_utterances(enrol_utts, len(ordered))
    if len(ordered) <= count:
        raise DataError(
            f"speaker {speaker} has {len(ordered)} utterance(s), but {count} to enrol and at "
            "least 1 to test are needed; add recordings, leave the speaker out or lower "
            "--enrol-utts"
        )
    return ordered[:count], ordered[count:]


def make_test(
    utt2spk: Mapping[str, str], enrol_utts: int | None, max_trials: int | None
) -> tuple[dict[str, list[str]], list[Trial]]:
    """Make enrolments and trials of the speakers in `utt2spk`; enrolment ids are speakers.

    Speakers with too few utterances for both are left out and counted.

    Raises
    ------
    DataError
        Fewer than two speakers are left.
    """
    of_speaker: dict[str, list[str]] = defaultdict(list)
    for utterance, speaker in utt2spk.items():
        of_speaker[speaker].append(utterance)
    enroll: dict[str, list[str]] = {}
    tests: dict[str, str] = {}
    short: list[DataError] = []
    for speaker in sorted(of_speaker):
        try:
            enroll[speaker], rest = split_speaker(of_speaker[speaker], enrol_utts, speaker)
        except DataError as error:
            short.append(error)
            continue
        tests.update(dict.fromkeys(rest, speaker))
    if short and len(enroll) < 2:
        raise short[0]
    if short:
        logger.warning("%d speaker(s) are not tested, for example: %s", len(short), short[0])
    return enroll, all_pairs(enroll, tests, {speaker: speaker for speaker in enroll}, max_trials)


def two_folds(
    utt2spk: Mapping[str, str], enrol_utts: int | None = None, max_trials: int | None = None
) -> list[Fold]:
    """Make the two-fold protocol: fold f tests speakers of index ≡ f (mod 2), trains on others.

    Raises
    ------
    DataError
        Fewer than four speakers, or one with too few utterances.
    """
    speakers = sorted(set(utt2spk.values()))
    if len(speakers) < 4:
        raise DataError(
            f"{len(speakers)} speaker(s) found, but at least 4 are needed (2 to train and 2 to "
            "test in each fold); add sub-folders, one per speaker"
        )
    folds = []
    for index in range(2):
        tested = set(speakers[index::2])
        train = {u: s for u, s in utt2spk.items() if s not in tested}
        test = {u: s for u, s in utt2spk.items() if s in tested}
        folds.append(Fold(train, *make_test(test, enrol_utts, max_trials)))
    return folds


def read_protocol(folder: str | os.PathLike) -> list[Fold]:
    """Read ``fold*/{train.utt2spk,enroll,trials}`` of a protocol folder.

    Raises
    ------
    DataError
        No fold there, or a file that is missing or cannot be understood.
    """
    root = Path(folder)
    folds = sorted(root.glob("fold[0-9]*"), key=lambda path: int(re.sub(r"\D", "", path.name)))
    if not folds:
        raise DataError(f"{root}: holds no fold0; a protocol is fold*/train.utt2spk,enroll,trials")
    return [
        Fold(
            read_table(path / "train.utt2spk", _speaker),
            read_enroll(path / "enroll"),
            read_trials(path / "trials"),
        )
        for path in folds
    ]


def _speaker(text: str) -> str:
    if len(text.split()) != 1:
        raise ValueError(f"expected one speaker, got {text!r}")
    return text


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of corpora without a protocol of their own."""
    parser.add_argument(
        "--protocol",
        metavar="DIR",
        help="folder with fold*/{train.utt2spk,enroll,trials}; default: two folds are made, each "
        "testing every second speaker and training on the others",
    )
    parser.add_argument(
        "--enrol-utts",
        type=int,
        metavar="N",
        help="utterances that enrol a speaker, where the protocol is made (default: 3 of 6 or "
        "more, else 1); more of them lower the error rates and leave fewer trials",
    )
    parser.add_argument(
        "--max-trials",
        type=int,
        metavar="N",
        help="most trials of a fold, where the protocol is made; all target trials are kept",
    )


def check_protocol_options(
    protocol: str | os.PathLike | None, enrol_utts: int | None, max_trials: int | None
) -> None:
    """Refuse numbers below one, and numbers beside a protocol that fixes them already."""
    for name, value in (("--enrol-utts", enrol_utts), ("--max-trials", max_trials)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
        if value is not None and protocol:
            raise UsageError(f"{name} does not go with --protocol, which names every trial")
