"""Train the networks of tiny-voxceleb and VoxSRC 2020: ``python -m recipes.train_embedding``.

Beyond ``python -m dnn.train`` it reads recordings as well as stored features, so that noise,
reverberation, babble and speed can change the sound; it masks features (SpecAugment); and its
learning rate falls by a factor every so many epochs, as those systems' does. It is one component
of a pipeline: what it reads and writes are files, the same command runs on a laptop and in a
cluster's container, and a machine that is taken away (SIGTERM) leaves a checkpoint and the exit
code 75, on which the command is given again.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnn.configuration.options import add_options, configure
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import NetworkConfig, check_together
from dnn.extra import told_extra
from ivector.base.cli import Parser, run
from ivector.base.errors import DataError, Exit, UsageError
from recipes.commands import COMMANDS

if TYPE_CHECKING:
    from dnn.data.augment import Choose
    from dnn.data.labelled import LabelledSet
    from dnn.training.trainer import Trainer
    from dnn.training.validation import TrialValidation

logger = logging.getLogger("training")

PRESET = PRESETS["embedding"]


def read_recordings(data: Path, utt2spk: Path, config: NetworkConfig) -> LabelledSet:
    """Training recordings as features of changed sound, their labels, and the speakers' names.

    A speaker at another speed counts as another speaker.

    Raises
    ------
    DataError
        The data directory cannot be read, or lacks utterances.
    """
    from dnn.data.audio_source import AudioSource
    from dnn.data.labelled import LabelledSet
    from dnn.data.sources import make_labels
    from ivector.data import read_data_dir, read_table
    from ivector.features.extractors import LogMel
    from ivector.features.store import PRESETS as STORES

    table = read_table(utt2spk, str)
    recordings = list(read_data_dir(data).subset(table).recordings())
    extractor = LogMel(**{**STORES["clovaai"], "num_mel_bins": config.features.num_mel_bins})
    speeds = config.augmentation.speeds
    source = AudioSource(
        recordings,
        extractor,
        speeds=speeds,
        augment=_changes(config, recordings, int(extractor.sample_frequency)),
    )
    labels, speakers = make_labels([row[0] for row in recordings], table)
    others = [f"sp{speed:g}-{name}" for speed in speeds if speed != 1 for name in speakers]
    return LabelledSet(source, source.expand_labels(labels), [*speakers, *others])


def _changes(config: NetworkConfig, recordings: list[Any], rate: int) -> Choose | None:
    """What is done to the sound of crops; babble is of the training speakers."""
    from dnn.data.augment import standard_augmentation
    from dnn.data.noises import Babble

    wanted = config.augmentation
    if not wanted.sound:
        return None
    return standard_augmentation(
        rate,
        wanted.musan,
        wanted.rirs,
        Babble(recordings, rate) if wanted.musan is None else None,
        probability=wanted.sound,
        telephone=wanted.telephone,
    )


def read_features(features: Path, utt2spk: Path) -> LabelledSet:
    """Stored training features, their labels, and the speakers' names.

    Raises
    ------
    DataError
        They cannot be read, or none is of a training utterance.
    """
    from dnn.data.labelled import LabelledSet
    from dnn.data.sources import Subset, make_labels, open_features
    from ivector.data import read_table

    table = read_table(utt2spk, str)
    full = open_features(features)
    chosen = [utt for utt in full.ids if utt in table]
    if not chosen:
        raise DataError(f"{features}: holds none of the utterances to train on")
    if len(chosen) < len(table):
        logger.warning("%d utterances have no features", len(table) - len(chosen))
    return LabelledSet(Subset.by_ids(full, chosen), *make_labels(chosen, table))


def make_trainer(arguments: argparse.Namespace, config: NetworkConfig) -> Trainer:
    """Everything that the arguments name, ready to train."""
    from dnn.data.sources import Transformed, normalise_mean
    from dnn.training.builder import build_trainer

    if arguments.features:
        data = read_features(arguments.features, arguments.utt2spk)
    else:
        data = read_recordings(arguments.data, arguments.utt2spk, config)
    if config.features.normalisation == "mean":
        data = data._replace(source=Transformed(data.source, normalise_mean))
    told = front_end(config)
    return build_trainer(
        config,
        data,
        arguments.out,
        validation=_validation(arguments, told),
        extra={"front_end": told},
    )


def front_end(config: NetworkConfig) -> dict[str, Any]:
    """What `dnn.extract` and `dnn.verify` shall do to the stored features of an utterance."""
    from dnn.embedding.trials import UNTOUCHED

    if config.features.normalisation == "none":
        return UNTOUCHED
    return {**UNTOUCHED, "normalisation": "global_cmn"}


def _validation(arguments: argparse.Namespace, told: dict[str, Any]) -> TrialValidation | None:
    if not arguments.trials:
        return None
    from dnn.embedding.trials import open_as_trained
    from dnn.training.validation import TrialValidation
    from ivector.data import read_enroll, read_trials

    stored = arguments.trial_features or arguments.features
    source = open_as_trained({"front_end": told}, stored)
    enroll = read_enroll(arguments.enroll) if arguments.enroll else None
    return TrialValidation.from_lists(source, read_trials(arguments.trials), enroll)


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.train_embedding",
        description=COMMANDS["train-embedding"].sentence,
        epilog="Exit codes: 0 trained; 1 bad data; 2 wrong usage; 75 stopped by SIGTERM and saved, "
        "run the same command again.",
    )
    add = parser.add_argument
    add("--features", type=Path, metavar="PATH", help="log-mel store, feats.scp, or its folder")
    add("--data", type=Path, metavar="DIR", help="instead, a data directory of recordings")
    add("--utt2spk", type=Path, required=True, metavar="FILE", help="utterances to train on")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the training")
    add("--trials", type=Path, metavar="FILE", help="validate by the EER on these")
    add("--enroll", type=Path, metavar="FILE", help="utterances of their enrolment ids")
    add("--trial-features", type=Path, metavar="PATH", help="of the trials (default: --features)")
    add_options(parser, PRESET)
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> int:
    """Train, or go on training."""
    config = configure(arguments, PRESET)
    check_together(config)
    if (arguments.features is None) == (arguments.data is None):
        raise UsageError("give --features or --data")
    sound = config.augmentation
    if arguments.features and (sound.sound or sound.speeds != (1.0,)):
        raise UsageError("--augment, --speeds: change the sound; give --data, not --features")
    if arguments.trials and not (arguments.trial_features or arguments.features):
        raise UsageError("--trials: need --trial-features, stored ones")
    from dnn.training.builder import use_threads

    use_threads(config)
    return 0 if make_trainer(arguments, config).fit().finished else Exit.STOPPED


def cli() -> int:
    """Entry point."""
    return run(make_parser(), main)


if __name__ == "__main__":
    # Through the import system, so that worker processes find the classes by name.
    from recipes.train_embedding import cli as entry

    raise SystemExit(entry())
