"""VoxSRC 2020's published features: trees ``SPEAKER/VIDEO/UTT.npy`` in the place of recordings.

``--corpus-dir`` holds the tree to train on, ``--test-dir`` the one that is tested (by default the
same). Lists are the pipeline's: ``speaker SPEAKER/VIDEO/UTT.wav`` a line to train on, ``1|0 path
path`` of trials. Where none is given, they are looked for in the tree and beside it, and without a
training list all of the tree is trained on. ``wav/npy.scp`` stands for ``wav.scp``;
``fold0/test.utt2spk`` names what the trials need. Features: `ivector.features.store.importer`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from ivector.base.errors import DataError, UsageError
from ivector.base.files import read_lines, write_text
from ivector.features.store.importer import (
    check_headers,
    find_utterances,
    require_utterances,
    utterance_of,
)
from recipes.corpora import voxceleb
from recipes.corpora.common import Corpus, Fold, Recording, need_folder
from recipes.corpora.layout import finish

TREE = "SPEAKER/VIDEO/UTT.npy"
# Names of lists that are looked for: the pipeline's, VoxCeleb's.
TRAINING_LISTS = ("vox2_no_cuda.txt", "train_list.txt")
TRIAL_LISTS = ("vox1_no_cuda.txt", "veri_test2.txt", "veri_test.txt")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    add = parser.add_argument
    add("--test-dir", metavar="DIR", help="tree that is tested; by default --corpus-dir")
    add("--train-list", metavar="FILE", help=f"by default {' or '.join(TRAINING_LISTS)}, or all")
    add("--trials", help=f"{voxceleb.TRIALS_HELP}; by default {' or '.join(TRIAL_LISTS)}")


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    test_dir: str | os.PathLike | None = None,
    train_list: str | os.PathLike | None = None,
    trials: str | None = None,
    strict: bool = False,
) -> dict[str, int]:
    """Write the layout of trees of features.

    Parameters
    ----------
    corpus_dir, out_dir : path-like
    test_dir : path-like, optional
        Tree that is tested.
    train_list : path-like, optional
    trials : str, optional
        Names of official lists or files, with commas between.
    strict : bool
        Changes nothing: whatever a list names must be there.

    Returns
    -------
    counts : dict of str to int
    """
    tree = need_folder(corpus_dir, TREE)
    test_tree = need_folder(test_dir or tree, TREE)
    train_list = train_list or _near(tree, TRAINING_LISTS)
    listed = trials or str(_near(test_tree, TRIAL_LISTS) or "")
    if not listed:
        raise UsageError(
            f"--trials: no {' or '.join(TRIAL_LISTS)} is in {test_tree} or beside it; give a list"
        )
    lists = voxceleb.find_lists(listed, test_tree, Path(out_dir), utterance_of)
    train, test = find_utterances(tree), find_utterances(test_tree)
    speakers = _read_training(Path(train_list)) if train_list else _speakers(train)
    require_utterances(speakers, train, tree, str(train_list))
    tested = sorted({u for _, rows in lists for t in rows for u in (t.enrol, t.test)})
    require_utterances(tested, test, test_tree, listed)
    for chosen, found in ((speakers, train), (tested, test)):
        check_headers([found[utt] for utt in chosen])
    fold = Fold(
        speakers,
        voxceleb.single_enrolments(rows for _, rows in lists),
        lists[0][1],
        dict(lists[1:]),
    )
    of_tests = {utt: speaker for utt, speaker in _speakers(test).items() if utt in set(tested)}
    recordings = {Recording(utt, s, train[utt]) for utt, s in speakers.items()}
    recordings |= {Recording(utt, s, test[utt]) for utt, s in of_tests.items()}
    out = Path(out_dir)
    counts = finish(Corpus(sorted(recordings), [fold], checked=True), out, strict)
    (out / "wav" / "wav.scp").rename(out / "wav" / "npy.scp")
    rows = "".join(f"{utt} {speaker}\n" for utt, speaker in sorted(of_tests.items()))
    write_text(out / "fold0" / "test.utt2spk", rows)
    return counts


def _near(tree: Path, names: Iterable[str]) -> Path | None:
    """The first list of these names in a tree's folder or beside it."""
    places = [folder / name for name in names for folder in (tree, tree.absolute().parent)]
    return next((place for place in places if place.is_file()), None)


def _speakers(found: dict[str, Path]) -> dict[str, str]:
    return {utt: path.parts[-3] for utt, path in found.items()}


def _read_training(path: Path) -> dict[str, str]:
    """Speakers of the utterances of a list ``speaker SPEAKER/VIDEO/UTT.wav``."""
    speakers = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            speaker, name = fields
            utt = utterance_of(name)
        except ValueError as error:
            why = error if len(fields) == 2 else "is not 'speaker SPEAKER/VIDEO/UTT.wav'"
            raise DataError(f"{path}, line {number}: {fields[-1]} {why}") from None
        if speaker != name.split("/")[0] or utt in speakers:
            raise DataError(
                f"{path}, line {number}: {name} is listed twice, or under another speaker's name"
            )
        speakers[utt] = speaker
    return speakers
