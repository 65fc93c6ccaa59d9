"""Train a speaker network on stored features: ``python -m dnn.train``.

Features are Kaldi's (``feats.scp``, static; ``vad.scp``) or a log-mel store; a sliding mean over
3 s is taken off and the voiced frames are kept. The folder that --out names holds the checkpoints,
the exported network (``network/``), ``scalars.jsonl`` and ``curves.png``.

The same command resumes a training that was stopped. SIGTERM saves and exits with code 75 (the
system's EX_TEMPFAIL: run me again); a killed run loses the steps since its last checkpoint. For
several GPUs or machines: ``torchrun --nproc-per-node=8 -m dnn.train ...``, with --out on a disk
that all of them share; --max-restarts goes on after a machine was lost.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnn.commands import COMMANDS
from dnn.configuration.options import add_options, configure
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import NetworkConfig, check_together
from dnn.extra import told_extra
from dnn.losses.table import CLASSIFIERS
from ivector.base.cli import Parser, run, whole
from ivector.base.errors import DataError, Exit, UsageError

if TYPE_CHECKING:
    import numpy as np

    from dnn.data.labelled import LabelledSet
    from dnn.data.sources import Source
    from dnn.training.validation import Validation

logger = logging.getLogger("training")

PRESET = PRESETS["train"]


class TrainingData(NamedTuple):
    """What to train on, and what is kept from it to validate."""

    training: LabelledSet
    held_out: Source | None
    held_out_labels: np.ndarray


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.train",
        description=COMMANDS["train"].sentence,
        epilog="Exit codes: 0 trained; 1 bad data; 2 wrong usage; 75 stopped by SIGTERM and saved, "
        "run the same command again.",
    )
    add = parser.add_argument
    add("--features", type=Path, required=True, metavar="PATH",
        help="feats.scp of static features, its folder, or a log-mel store")  # fmt: skip
    add("--vad", type=Path, metavar="SCP", help="vad.scp; without it all frames are kept")
    add("--utt2spk", type=Path, required=True, metavar="FILE",
        help="speakers of the utterances to train on; others are left alone")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the training")
    add("--held-out", type=whole(0), default=0, metavar="N",
        help="keep each speaker's last N utterances to measure accuracy on")  # fmt: skip
    add("--trials", type=Path, metavar="FILE",
        help="measure the EER of cosine scores on 'enrol test target|nontarget'; decides which "
        "weights are the best")  # fmt: skip
    add("--enroll", type=Path, metavar="FILE", help="utterances of the trials' enrolment ids")
    add("--trial-features", type=Path, metavar="PATH", help="of the trials, if not in --features")
    add("--trial-vad", type=Path, metavar="SCP", help="their vad.scp")
    add_options(parser, PRESET)
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> int:
    """Train, or go on training."""
    config = configure(arguments, PRESET)
    _check(arguments, config)
    from dnn.training.builder import build_trainer, use_threads
    from dnn.training.distributed import joined

    use_threads(config)
    front_end = _front_end(config)
    with joined() as ranks:
        data = read_training_data(
            arguments.features, arguments.vad, arguments.utt2spk, arguments.held_out, front_end
        )
        trainer = build_trainer(
            config,
            data.training,
            arguments.out,
            validation=_validation(arguments, data, front_end),
            extra={"front_end": front_end, "vad": arguments.vad is not None},
            ranks=ranks,
        )
        finished = trainer.fit().finished
    if finished:
        logger.info("the network is in %s", arguments.out / "network")
    return 0 if finished else Exit.STOPPED


def _front_end(config: NetworkConfig) -> dict[str, Any]:
    """Options of the `ivector.pipeline.FrontEnd`, as the network's ``config.json`` tells them."""
    features = config.features
    return {
        "delta_order": 0,
        "normalisation": features.normalisation,
        "cmn_window": features.cmn_window,
    }


def read_training_data(
    features: Path,
    vad: Path | None,
    utt2spk: Path,
    n_held_out: int = 0,
    front_end: dict[str, Any] | None = None,
) -> TrainingData:
    """Features and labels of the utterances that `utt2spk` names.

    Parameters
    ----------
    features, vad, front_end
        As for `dnn.data.voiced.open_front_end`.
    utt2spk : Path
    n_held_out : int
        Of each speaker.

    Raises
    ------
    DataError
        A file cannot be read, none of the utterances has features, or a speaker has too few
        utterances to hold some out.
    """
    import numpy as np

    from dnn.data.labelled import LabelledSet
    from dnn.data.sources import Subset, make_labels
    from dnn.data.voiced import in_memory, open_front_end
    from ivector.data import read_table

    table = read_table(utt2spk, str)
    full = open_front_end(features, vad, front_end)
    places = np.array([i for i, key in enumerate(full.ids) if key in table], np.int64)
    if len(places) < len(table):
        logger.warning(
            "%d of %d utterances of %s have no features and are left out",
            len(table) - len(places), len(table), utt2spk,
        )  # fmt: skip
    if not len(places):
        raise DataError(f"{utt2spk}: none of its utterances has features in {features}")
    labels, speakers = make_labels([full.ids[i] for i in places], table)
    if len(speakers) < 2:
        raise DataError(f"{utt2spk}: names one speaker; a network learns to part at least two")
    kept = np.ones(len(places), bool)
    if n_held_out:
        kept = _first_ones([full.ids[i] for i in places], labels, n_held_out, speakers)
    held_out = Subset(full, places[~kept]) if n_held_out else None
    source = in_memory(Subset(full, places[kept]))
    return TrainingData(LabelledSet(source, labels[kept], speakers), held_out, labels[~kept])


def _first_ones(
    ids: list[str], labels: np.ndarray, n_held_out: int, speakers: list[str]
) -> np.ndarray:
    """Mask of all but the last utterances, by id, of every speaker."""
    import numpy as np

    kept = np.ones(len(ids), bool)
    order = np.array(sorted(range(len(ids)), key=lambda i: ids[i]))
    for label, speaker in enumerate(speakers):
        mine = order[labels[order] == label]
        if len(mine) <= n_held_out:
            raise DataError(
                f"speaker {speaker} has {len(mine)} utterances, of which --held-out {n_held_out} "
                "leaves none to train on; hold out fewer"
            )
        kept[mine[-n_held_out:]] = False
    return kept


def _validation(
    arguments: argparse.Namespace, data: TrainingData, front_end: dict[str, Any]
) -> Validation | None:
    from dnn.training.validation import AccuracyValidation, TrialValidation, Validations

    parts: list[Validation] = []
    if arguments.trials:
        from dnn.data.voiced import open_front_end
        from ivector.data import read_enroll, read_trials

        features = arguments.trial_features or arguments.features
        vad = arguments.trial_vad if arguments.trial_features else arguments.vad
        source = open_front_end(features, vad, front_end)
        enroll = read_enroll(arguments.enroll) if arguments.enroll else None
        parts.append(TrialValidation.from_lists(source, read_trials(arguments.trials), enroll))
    if data.held_out is not None:
        parts.append(AccuracyValidation(data.held_out, data.held_out_labels))
    return Validations(*parts) if parts else None


def _check(arguments: argparse.Namespace, config: NetworkConfig) -> None:
    check_together(config)
    if config.loss.name not in CLASSIFIERS and arguments.held_out:
        raise UsageError(f"--held-out: {config.loss.name} has no classes; validate with --trials")
    for name in ("enroll", "trial_features"):
        if getattr(arguments, name) and not arguments.trials:
            raise UsageError(f"--{name.replace('_', '-')}: is of use with --trials only")
    if arguments.trial_vad and not arguments.trial_features:
        raise UsageError("--trial-vad: belongs to --trial-features, which is not given")


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
