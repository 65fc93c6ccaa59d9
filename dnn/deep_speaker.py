"""Deep Speaker: softmax pre-training, then triplets: ``python -m dnn.deep_speaker``.

C. Li et al., "Deep Speaker: an end-to-end neural speaker embedding system", arXiv:1705.02304, 2017.
What is special about it: crops of 160 frames of 64 log-mel energies, each frame normalised for
itself; a first phase with softmax on embeddings of any length (section 4.1), and a second with
triplets of unit embeddings whose negatives are chosen across the batch (section 3.2), which starts
from the weights of the first.

The networks are `dnn.models.deep_speaker` and `dnn.models.deep_speaker_gru`, the loss is
`dnn.losses.metric.Triplet`. A phase that was stopped is resumed by the same command; SIGTERM saves
and exits with code 75.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnn.commands import COMMANDS
from dnn.configuration.options import add_options, configure
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import NetworkConfig, check_together
from dnn.extra import told_extra
from ivector.base.cli import Parser, run, whole
from ivector.base.errors import DataError, Exit, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dnn.data.labelled import LabelledSet
    from dnn.data.sources import Source
    from dnn.models.deep_speaker import DeepSpeaker
    from dnn.training.trainer import Trainer

logger = logging.getLogger("training")

PRESET = PRESETS["deep-speaker"]
MARGIN: float = PRESET.values["loss.margin"]  # of the triplets' cosines
LOG_MEL: dict[str, Any] = {
    "num_mel_bins": PRESET.values["features.num_mel_bins"],
    "sample_frequency": 16000,
}
ARCHITECTURES = {"rescnn": "deep-speaker-rescnn", "gru": "deep-speaker-gru"}
PHASES = ("softmax", "triplet")


def build_network(
    architecture: str = "rescnn", init: str | os.PathLike | None = None, **options: Any
) -> DeepSpeaker:
    """A network that gives unit embeddings, with fresh weights or those of a former phase.

    Parameters
    ----------
    architecture : {"rescnn", "gru"}
    init : path-like, optional
        Folder of an exported network, or of its training, whose weights it starts from.
    **options
        Of the network.

    Raises
    ------
    DataError
        `init` holds another network.
    """
    from dnn.models import build

    model: Any = build(ARCHITECTURES[architecture], **options)
    if init is not None:
        take_weights(model, init)
    return model


def take_weights(model: DeepSpeaker, init: str | os.PathLike) -> None:
    """Give a network the weights of a former phase: a folder of a network, or of its training.

    Raises
    ------
    DataError
        The folder holds another network.
    """
    from dnn.embedding.export import CONFIG, load_network

    folder = Path(init)
    folder = folder if (folder / CONFIG).exists() else folder / "network"
    former = load_network(folder)
    told = {**former.config()["options"], "normalise": True}
    if former.name != model.name or told != model.config()["options"]:
        raise DataError(
            f"{folder}: holds {former.name} {told}, not {model.name} "
            f"{model.config()['options']}; give the options that it was trained with"
        )
    model.load_state_dict(former.state_dict())


def of_phase(phase: str) -> dict[str, Any]:
    """What a phase sets of the configuration: its loss, and how batches are drawn.

    Raises
    ------
    UsageError
        There is no such phase.
    """
    if phase not in PHASES:
        raise UsageError(f"a phase is {' or '.join(PHASES)}, not {phase!r}")
    if phase == "softmax":
        return {"loss.name": "softmax", "batches.per_speaker": 0, "batches.hard_every": 0}
    return {"loss.name": "triplet"}


def make_trainer(
    config: NetworkConfig,
    data: LabelledSet,
    folder: str | os.PathLike,
    init: str | os.PathLike | None = None,
) -> Trainer:
    """Trainer of one phase; its `fit` trains, or goes on where it was stopped.

    Parameters
    ----------
    config : NetworkConfig
        That of the preset "deep-speaker", and of the phase (`of_phase`).
    data : LabelledSet
        Features normalised frame by frame, see `by_frame`.
    folder : path-like
    init : path-like, optional
        As for `build_network`.

    Raises
    ------
    DataError
        Fewer speakers than a batch of triplets needs, or what `take_weights` raises.
    """
    from dnn.embedding.trials import BY_FRAME
    from dnn.training.builder import build_trainer

    def prepare(model: Any) -> None:
        if init is not None:
            take_weights(model, init)
        # With classes, the affine layer's output has the length that their logits need; the
        # weights are those of the network that scales it.
        model.normalise = config.loss.name == "triplet"

    return build_trainer(config, data, folder, prepare=prepare, extra={"front_end": BY_FRAME})


def triplet_step(
    model: DeepSpeaker,
    optimiser: torch.optim.Optimizer,
    features: Tensor,
    labels: Tensor,
    margin: float = MARGIN,
) -> float:
    """One update on a batch of triplets, for whoever has a loop of their own.

    Parameters
    ----------
    model : DeepSpeaker
    optimiser : torch.optim.Optimizer
    features : Tensor (B, n_frames, n_features), or (B, n_windows, n_frames, n_features)
        With windows, each is embedded by itself, and an utterance is the average of its windows'
        embeddings, as the first programs for this network had it.
    labels : Tensor (B,) int
        Two utterances or more of each of two speakers or more.
    margin : float

    Returns
    -------
    float
        The loss before the update.
    """
    from dnn.losses.metric import Triplet

    optimiser.zero_grad()
    embedding = model.head(model(features.flatten(0, -3)))
    if features.ndim == 4:
        embedding = embedding.unflatten(0, features.shape[:2]).mean(1)
    loss = Triplet(margin).to(embedding.device)(embedding, labels)
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def open_librispeech(
    path: str | os.PathLike, datasets: Collection[str] | None = None
) -> tuple[Source, dict[str, str]]:
    """Recordings of a LibriSpeech tree, or of Deep Speaker's table of one, as features.

    Parameters
    ----------
    path : path-like
        Folder, or ``.csv`` with filename, chapter_id, speaker_id, dataset_id.
    datasets : collection of str, optional
        Sets to take, as ``train-clean-100``; by default all.

    Returns
    -------
    source : Source
        Log-mel energies, computed when they are read, normalised frame by frame.
    utt2spk : dict of str to str

    Raises
    ------
    DataError
        There are none, or they cannot be read.
    """
    from dnn.data.audio_source import AudioSource
    from dnn.data.sources import Transformed, normalise_frames
    from dnn.formats.librispeech import read_table, read_tree
    from ivector.features.extractors import LogMel

    if Path(path).suffix == ".csv":
        found = read_table(path)
        if datasets is not None:
            found = [row for row in found if row.dataset in datasets]
    else:
        found = read_tree(path, datasets)
    if not found:
        raise DataError(f"{path}: names no recordings of {', '.join(datasets or ())}")
    recordings = [(row.utterance, row.path, None, None) for row in found]
    source = AudioSource(recordings, LogMel(**LOG_MEL))
    return Transformed(source, normalise_frames), {row.utterance: row.speaker for row in found}


def by_frame(features: str | os.PathLike) -> Source:
    """Stored log-mel features, normalised frame by frame."""
    from dnn.embedding.trials import BY_FRAME, open_as_trained

    return open_as_trained({"front_end": BY_FRAME}, features)


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.deep_speaker",
        description=COMMANDS["deep-speaker"].sentence,
        epilog="Exit codes: 0 trained; 1 bad data; 2 wrong usage; 75 stopped by SIGTERM and saved, "
        "run the same command again.",
    )
    add = parser.add_argument
    add("phase", choices=PHASES, help="softmax first, then triplet with --init")
    add("--features", type=Path, metavar="PATH",
        help="64 log-mel energies: a store, feats.scp, or a folder that holds it")  # fmt: skip
    add("--utt2spk", type=Path, metavar="FILE",
        help="speakers of the utterances to train on; others are left alone")  # fmt: skip
    add("--librispeech", type=Path, metavar="PATH",
        help="instead of these, a LibriSpeech tree or its table (.csv), read as it is")  # fmt: skip
    add("--sets", nargs="+", metavar="SET", help="of the tree, as train-clean-100; default: all")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the training")
    add("--init", type=Path, metavar="DIR", help="training or network to start from")
    add("--architecture", choices=tuple(ARCHITECTURES),
        help="as --model; gru trains faster and ends less exact (default: rescnn)")  # fmt: skip
    add("--channels", type=whole(1), nargs="+", metavar="C",
        help="of the stages (rescnn) or the convolution (gru); fewer for trials")  # fmt: skip
    add_options(parser, PRESET)
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> int:
    """Train a phase, or go on training it."""
    _check(arguments)
    config = _configure(arguments)
    check_together(config)
    from dnn.data.labelled import LabelledSet
    from dnn.data.sources import make_labels
    from dnn.training.builder import use_threads

    use_threads(config)
    source, utt2spk = _open(arguments)
    data = LabelledSet(source, *make_labels(source.ids, utt2spk))
    trainer = make_trainer(config, data, arguments.out, arguments.init)
    return 0 if trainer.fit().finished else Exit.STOPPED


def _configure(arguments: argparse.Namespace) -> NetworkConfig:
    """The configuration, with what the phase and the options of this command alone say."""
    last = of_phase(arguments.phase)
    if arguments.architecture:
        last["model.name"] = ARCHITECTURES[arguments.architecture]
    config = configure(arguments, PRESET, last)
    if not arguments.channels:
        return config
    one = config.model.name == ARCHITECTURES["gru"]
    if one and len(arguments.channels) > 1:
        raise UsageError("--channels: the GRU network has one convolution; give one number")
    channels = arguments.channels[0] if one else tuple(arguments.channels)
    return config.changed({"model.options": {**config.model.options, "channels": channels}})


def _open(arguments: argparse.Namespace) -> tuple[Source, dict[str, str]]:
    """Features of the utterances to train on, and speakers of these and perhaps others."""
    if arguments.librispeech:
        return open_librispeech(arguments.librispeech, arguments.sets)
    from dnn.data.sources import Subset
    from dnn.data.voiced import in_memory
    from ivector.data import read_table

    source, utt2spk = by_frame(arguments.features), read_table(arguments.utt2spk, str)
    source = Subset.by_ids(source, [u for u in source.ids if u in utt2spk])
    if len(source) < len(utt2spk):
        logger.warning("%d utterances have no features", len(utt2spk) - len(source))
    return in_memory(source), utt2spk


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.features is None) == (arguments.librispeech is None):
        raise UsageError("give --features with --utt2spk, or --librispeech")
    if (arguments.utt2spk is None) != (arguments.features is None):
        raise UsageError("--features and --utt2spk go together")
    if arguments.sets and not arguments.librispeech:
        raise UsageError("--sets: belongs to --librispeech")


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
