"""VoxCeleb1: interviews from the internet, 16 kHz; official trial lists O (and, see below, E, H).

The folder holds ``.../id10270/VIDEO/00001.wav``. All speakers that no list names train. As E and
H name every speaker of VoxCeleb1, nothing is left to train on with them: use ``voxceleb2``.
Nagrani, Chung and Zisserman, Interspeech 2017.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ivector.base.errors import DataError
from recipes.corpora import voxceleb
from recipes.corpora.common import Corpus, Fold, need_folder
from recipes.corpora.layout import finish


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    parser.add_argument("--trials", default="O-cleaned", help=voxceleb.TRIALS_HELP)


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    trials: str = "O-cleaned",
    strict: bool = False,
) -> dict[str, int]:
    """Write the layout of VoxCeleb1.

    Parameters
    ----------
    corpus_dir, out_dir : path-like
    trials : str
        Names of official lists or files, with commas between.
    strict : bool
        Stop at recordings that cannot be used, or are missing.

    Returns
    -------
    counts : dict of str to int
    """
    root = need_folder(corpus_dir, "id10270/VIDEO/00001.wav, at any depth")
    lists = voxceleb.find_lists(trials, root, Path(out_dir))
    recordings = voxceleb.find_recordings(root, strict)
    tested = {u.split("-")[0] for _, rows in lists for t in rows for u in (t.enrol, t.test)}
    train = {r.utterance: r.speaker for r in recordings if r.speaker not in tested}
    if not train:
        raise DataError(
            f"--trials {trials}: these lists name every speaker in {root}, so that none is left "
            "to train on; use list O, or the corpus voxceleb2 with --test-dir"
        )
    fold = Fold(
        train,
        voxceleb.single_enrolments(rows for _, rows in lists),
        lists[0][1],
        dict(lists[1:]),
    )
    # What neither trains nor is tested is not worth the features.
    used = {*train, *(u for _, rows in lists for t in rows for u in (t.enrol, t.test))}
    kept = [r for r in recordings if r.utterance in used]
    genders = voxceleb.read_genders(root, root / "meta")
    return finish(Corpus(kept, [fold], genders), Path(out_dir), strict)
