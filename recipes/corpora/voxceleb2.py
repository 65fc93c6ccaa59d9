"""VoxCeleb2 to train, VoxCeleb1 to test: official trial lists O, E and H.

``--corpus-dir`` holds VoxCeleb2's ``.../id00012/VIDEO/00001.wav`` (published as m4a, which must be
converted first), ``--test-dir`` VoxCeleb1's tree. Chung, Nagrani and Zisserman, Interspeech 2018.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ivector.base.errors import UsageError
from recipes.corpora import voxceleb
from recipes.corpora.common import Corpus, Fold, need_folder
from recipes.corpora.layout import finish


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    parser.add_argument("--test-dir", metavar="DIR", help="folder of VoxCeleb1, which is tested")
    parser.add_argument(
        "--trials", default="O-cleaned,E-cleaned,H-cleaned", help=voxceleb.TRIALS_HELP
    )


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    test_dir: str | os.PathLike | None = None,
    trials: str = "O-cleaned,E-cleaned,H-cleaned",
    strict: bool = False,
) -> dict[str, int]:
    """Write the layout of VoxCeleb2 (training) and VoxCeleb1 (trials).

    Parameters
    ----------
    corpus_dir, out_dir : path-like
    test_dir : path-like
        Folder of VoxCeleb1.
    trials : str
        Names of official lists or files, with commas between.
    strict : bool
        Stop at recordings that cannot be used, or are missing.

    Returns
    -------
    counts : dict of str to int
    """
    root = need_folder(corpus_dir, "id00012/VIDEO/00001.wav, at any depth")
    if not test_dir:
        raise UsageError("--test-dir is needed: the folder of VoxCeleb1, which the lists test")
    test_root = need_folder(test_dir, "VoxCeleb1's id10270/VIDEO/00001.wav, at any depth")
    lists = voxceleb.find_lists(trials, test_root, Path(out_dir))
    training = voxceleb.find_recordings(root, strict)
    used = {u for _, rows in lists for t in rows for u in (t.enrol, t.test)}
    tested = [r for r in voxceleb.find_recordings(test_root, strict) if r.utterance in used]
    fold = Fold(
        {r.utterance: r.speaker for r in training},
        voxceleb.single_enrolments(rows for _, rows in lists),
        lists[0][1],
        dict(lists[1:]),
    )
    genders = voxceleb.read_genders(root, root / "meta", test_root, test_root / "meta")
    return finish(Corpus([*training, *tested], [fold], genders), Path(out_dir), strict)
