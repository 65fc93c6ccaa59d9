"""Cut a folder of speakers for closed-set identification: ``python -m recipes.cut_speakers``.

The first utterances of every speaker, in the order of their ids, are to train on, those that
follow to test. Written below --out:

wav, train, test   data directories of all, and of both parts
closed-set         ``train.utt2spk``; ``enroll``, every speaker's training utterances; ``trials``,
                   every test with its own speaker, whose scores against all models are wanted
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ivector.base.cli import Parser, run, whole
from ivector.base.errors import DataError
from ivector.base.files import atomic_write
from ivector.data import DataDir, Trial, write_data_dir, write_enroll, write_trials
from recipes.commands import COMMANDS
from recipes.corpora.common import Recording
from recipes.corpora.folder import read_folder

logger = logging.getLogger("prepare")

CLOSED_SET = "closed-set"


def cut(
    recordings: Sequence[Recording], n_train: int, n_test: int | None = None
) -> tuple[list[Recording], list[Recording]]:
    """Part every speaker's recordings, by sorted id; speakers with too few are left out, and said.

    Parameters
    ----------
    recordings : sequence of Recording
    n_train : int
        First recordings of each speaker, to train on.
    n_test : int, optional
        How many that follow test; by default all.

    Returns
    -------
    train, test : list of Recording

    Raises
    ------
    DataError
        Fewer than two speakers have recordings for both.
    """
    of_speaker: dict[str, list[Recording]] = defaultdict(list)
    for recording in sorted(recordings):
        of_speaker[recording.speaker].append(recording)
    kept = {name: own for name, own in of_speaker.items() if len(own) > n_train}
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} of {len(of_speaker)} speakers have more than {n_train} recordings, of "
            f"which {n_train} train; at least two are needed: lower --train-per-speaker"
        )
    if len(kept) < len(of_speaker):
        logger.warning(
            "%d of %d speakers have no more than %d recordings and are left out",
            len(of_speaker) - len(kept), len(of_speaker), n_train,
        )  # fmt: skip
    stop = None if n_test is None else n_train + n_test
    train = [recording for own in kept.values() for recording in own[:n_train]]
    return train, [recording for own in kept.values() for recording in own[n_train:stop]]


def write_cut(
    out: Path, train: Sequence[Recording], test: Sequence[Recording], genders: dict[str, str]
) -> None:
    """Write the data directories and the lists of the closed set."""
    for name, part in (("wav", [*train, *test]), ("train", train), ("test", test)):
        speakers = {r.speaker for r in part}
        known = speakers <= genders.keys()
        data = DataDir(
            wav_scp={r.utterance: str(r.path.absolute()) for r in part},
            utt2spk={r.utterance: r.speaker for r in part},
            spk2gender={s: genders[s] for s in sorted(speakers)} if known else {},
        )
        write_data_dir(out / name, data)
    folder = out / CLOSED_SET
    with atomic_write(folder / "train.utt2spk", "w") as file:
        file.writelines(f"{r.utterance} {r.speaker}\n" for r in sorted(train))
    enroll: dict[str, list[str]] = defaultdict(list)
    for recording in sorted(train):
        enroll[recording.speaker].append(recording.utterance)
    write_enroll(folder / "enroll", enroll)
    write_trials(folder / "trials", [Trial(r.speaker, r.utterance, True) for r in sorted(test)])


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.cut_speakers",
        description=COMMANDS["cut-speakers"].sentence,
    )
    add = parser.add_argument
    add("--corpus-dir", type=Path, required=True, metavar="DIR",
        help="one sub-folder of recordings for each speaker")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="for the data directories")
    add("--train-per-speaker", type=whole(1), default=7, metavar="K",
        help="first utterances of each speaker, by sorted id, to train on")  # fmt: skip
    add("--test-per-speaker", type=whole(1), metavar="N",
        help="utterances that follow, to test (default: all). To choose options without a look at "
        "them, cut the training utterances once more: --train-per-speaker 5 "
        "--test-per-speaker 2")  # fmt: skip
    add("--strict", action="store_true", help="stop at a recording that cannot be used")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, cut, write."""
    recordings, genders = read_folder(arguments.corpus_dir, arguments.strict)
    train, test = cut(recordings, arguments.train_per_speaker, arguments.test_per_speaker)
    write_cut(arguments.out, train, test, genders)
    logger.info(
        "%s: %d speakers, %d utterances to train on, %d to test",
        arguments.out, len({r.speaker for r in train}), len(train), len(test),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
