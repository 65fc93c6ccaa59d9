"""Your own recordings: a folder with one sub-folder per speaker, in any format that can be read.

Recordings may lie at any depth below the speaker's folder. An utterance's id is the file's name
without its ending where these are unique and sort by speaker, else ``speaker-name``. With
``--protocol`` the ids are those of the protocol. A file ``spk2gender`` is used where present.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ivector.base.errors import DataError
from ivector.base.files import read_lines
from recipes.corpora.common import (
    Corpus,
    Fold,
    Recording,
    add_protocol_options,
    check_protocol_options,
    find_audio,
    need_folder,
    read_protocol,
    safe_id,
    two_folds,
)
from recipes.corpora.layout import finish, usable

LAYOUT = "one sub-folder of recordings for each speaker"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    add_protocol_options(parser)


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    protocol: str | os.PathLike | None = None,
    enrol_utts: int | None = None,
    max_trials: int | None = None,
    strict: bool = False,
) -> dict[str, int]:
    """Write the layout of a folder of recordings.

    Parameters
    ----------
    corpus_dir : path-like
        One sub-folder for each speaker.
    out_dir : path-like
    protocol : path-like, optional
        Folder with ``fold*/{train.utt2spk,enroll,trials}``; None makes two folds.
    enrol_utts, max_trials : int, optional
        For the protocol that is made.
    strict : bool
        Stop at recordings that cannot be used.

    Returns
    -------
    counts : dict of str to int

    Raises
    ------
    DataError
        Too few speakers or utterances, ids that do not fit the protocol, nothing to read.
    """
    root = need_folder(corpus_dir, LAYOUT)
    check_protocol_options(protocol, enrol_utts, max_trials)
    owned = _by_speaker(root, find_audio(root, strict))
    if protocol:
        folds = read_protocol(protocol)
        recordings = _named_for(owned, _named_in(folds), protocol)
    else:
        # A bad file must not count as an utterance when the protocol is made.
        recordings = usable(_named_by_rule(owned), strict)
        utt2spk = {r.utterance: r.speaker for r in recordings}
        folds = two_folds(utt2spk, enrol_utts, max_trials)
    corpus = Corpus(recordings, folds, _genders(root), checked=not protocol)
    return finish(corpus, Path(out_dir), strict)


def read_folder(
    corpus_dir: str | os.PathLike | None, strict: bool = False
) -> tuple[list[Recording], dict[str, str]]:
    """Recordings of a folder that can be used, by id, and the genders of speakers where told.

    Raises
    ------
    DataError
        Nothing to read, or ids that are not unique.
    """
    root = need_folder(corpus_dir, LAYOUT)
    return usable(_named_by_rule(_by_speaker(root, find_audio(root, strict))), strict), _genders(
        root
    )


def _by_speaker(root: Path, files: Iterable[Path]) -> list[tuple[str, Path, Path]]:
    """Pair recordings with their speaker: (speaker, path below the speaker's folder, path)."""
    owned = []
    folders: dict[str, str] = {}
    for path in files:
        first, *rest = path.relative_to(root).parts
        if not rest:
            continue
        speaker = safe_id(first)
        if folders.setdefault(speaker, first) != first:
            raise DataError(f"{root}: folders {folders[speaker]!r} and {first!r} give one id")
        owned.append((speaker, Path(*rest), path))
    if not owned:
        raise DataError(f"{root}: recordings lie in the folder itself; it must hold {LAYOUT}")
    return owned


def _stem(speaker: str, below: Path) -> str:
    return safe_id(below.stem)


def _speaker_stem(speaker: str, below: Path) -> str:
    return f"{speaker}-{safe_id(below.stem)}"


def _speaker_path(speaker: str, below: Path) -> str:
    return "-".join([speaker, *(safe_id(part) for part in below.with_suffix("").parts)])


RULES: tuple[Callable[[str, Path], str], ...] = (_stem, _speaker_stem, _speaker_path)


def _name(
    owned: list[tuple[str, Path, Path]], rule: Callable[[str, Path], str]
) -> list[Recording] | None:
    """Name recordings by `rule`; None where two would have one id."""
    named = [Recording(rule(speaker, below), speaker, path) for speaker, below, path in owned]
    return named if len({r.utterance for r in named}) == len(named) else None


def _named_by_rule(owned: list[tuple[str, Path, Path]]) -> list[Recording]:
    """Name recordings by the first rule that gives unique ids sorted by speaker, as Kaldi needs."""
    for rule in RULES:
        named = _name(owned, rule)
        if named is None:
            continue
        speakers = [r.speaker for r in sorted(named)]
        if rule is not _stem or speakers == sorted(speakers):
            return named
    one, two = _of_one_name(owned)
    raise DataError(f"{one} and {two} differ only in their ending or in white space; rename one")


def _of_one_name(owned: list[tuple[str, Path, Path]]) -> tuple[Path, Path]:
    """Find two recordings that even the longest of the rules gives one id."""
    seen: dict[str, Path] = {}
    for speaker, below, path in owned:
        former = seen.setdefault(_speaker_path(speaker, below), path)
        if former != path:
            return former, path
    raise AssertionError("every id is unique")


def _named_in(folds: Iterable[Fold]) -> set[str]:
    names: set[str] = set()
    for fold in folds:
        names.update(fold.train, (t.test for t in fold.trials), *fold.enroll.values())
    return names


def _named_for(
    owned: list[tuple[str, Path, Path]], wanted: set[str], protocol: str | os.PathLike
) -> list[Recording]:
    """Name recordings by the rule that finds most of the protocol's ids."""
    candidates = [named for rule in RULES if (named := _name(owned, rule))]
    if not candidates:
        one, two = _of_one_name(owned)
        raise DataError(
            f"{one} and {two} differ only in their ending or in white space; rename one"
        )
    best = max(candidates, key=lambda named: sum(r.utterance in wanted for r in named))
    if not any(r.utterance in wanted for r in best):
        raise DataError(
            f"{protocol}: names {min(wanted)}, ..., but the recordings are {best[0].utterance}, "
            "...; is this the corpus that the protocol belongs to?"
        )
    return best


def _genders(root: Path) -> dict[str, str]:
    path = root / "spk2gender"
    if not path.is_file():
        return {}
    rows = [line.split() for line in read_lines(path) if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in ("m", "f"):
            raise DataError(f"{path}: expected 'speaker m|f', got {' '.join(row)!r}")
    return {speaker: gender for speaker, gender in rows}
