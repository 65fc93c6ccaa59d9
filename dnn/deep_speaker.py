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
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivector.base.cli import SEED, Parser, number, run, whole
from ivector.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from dnn.data.sources import Source
    from dnn.models.deep_speaker import DeepSpeaker
    from dnn.training.trainer import Trainer

logger = logging.getLogger("training")

N_MELS = 64
WINDOW = 160  # frames of a crop
MARGIN = 0.1  # of the triplets' cosines
LOG_MEL: dict[str, Any] = {"num_mel_bins": N_MELS, "sample_frequency": 16000}
ARCHITECTURES = {"rescnn": "deep-speaker-rescnn", "gru": "deep-speaker-gru"}
PHASES = ("softmax", "triplet")
STOPPED = 75


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
    from dnn.embedding.export import CONFIG, load_network
    from dnn.models import build

    model = build(ARCHITECTURES[architecture], **options)
    if init is None:
        return model  # type: ignore[return-value]
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
    return model  # type: ignore[return-value]


def make_trainer(
    source: Source,
    labels: np.ndarray,
    speakers: Sequence[str],
    folder: str | os.PathLike,
    *,
    phase: str,
    n_steps: int,
    architecture: str = "rescnn",
    network: dict[str, Any] | None = None,
    init: str | os.PathLike | None = None,
    batch_size: int = 64,
    per_speaker: int = 4,
    rate: float = 1e-3,
    n_frames: int = WINDOW,
    device: str = "auto",
    seed: int = 0,
    **options: Any,
) -> Trainer:
    """Trainer of one phase; its `fit` trains, or goes on where it was stopped.

    Parameters
    ----------
    source : Source
        Features (n_frames, n_features) normalised frame by frame, see `by_frame`.
    labels : ndarray (n_utterances,) int
    speakers : sequence of str
        Their names, in the order of the labels.
    folder : path-like
    phase : {"softmax", "triplet"}
    n_steps : int
    architecture, network, init
        As for `build_network`.
    batch_size : int
        Crops of a batch. Triplets choose their negatives among them, so that larger batches have
        harder ones.
    per_speaker : int
        Crops of each speaker in a batch of triplets.
    rate : float
        Learning rate at its highest.
    n_frames : int
        Of a crop.
    device : str
    seed : int
    **options
        Further ones of `dnn.training.options.TrainingOptions`.

    Raises
    ------
    DataError
        Fewer speakers than a batch of triplets needs, or what `build_network` raises.
    """
    import torch

    from dnn.data.batches import CropBatches
    from dnn.embedding.trials import BY_FRAME
    from dnn.losses.classification import build_loss
    from dnn.training.options import TrainingOptions
    from dnn.training.schedules import build_schedule
    from dnn.training.trainer import Trainer

    if phase not in PHASES:
        raise UsageError(f"a phase is {' or '.join(PHASES)}, not {phase!r}")
    torch.manual_seed(seed)
    model = build_network(architecture, init, n_features=source.n_features, **(network or {}))
    if phase == "softmax":
        # The affine layer's output has the length that the classes' logits need; the weights are
        # those of the network that scales it.
        model.normalise = False
        loss = build_loss("softmax", model.head_dim, len(speakers))
    else:
        loss = build_loss("triplet", model.head_dim, len(speakers), margin=MARGIN)
    batches = CropBatches(
        source,
        labels,
        n_frames=n_frames,
        batch_size=batch_size,
        utterances_per_speaker=per_speaker if phase == "triplet" else None,
        seed=seed,
    )
    return Trainer(
        model,
        loss,
        batches,
        folder,
        TrainingOptions(n_steps=n_steps, seed=seed, **options),
        build_schedule("cosine", peak=rate, n_steps=n_steps, n_warmup=n_steps // 20),
        speakers=speakers,
        extra={"front_end": BY_FRAME},
        device=device,
    )


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


def build_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.deep_speaker",
        description="Train Deep Speaker, one phase at a time; resumes where it was stopped.",
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
    add("--architecture", choices=tuple(ARCHITECTURES), default="rescnn",
        help="gru trains faster and ends less exact")  # fmt: skip
    add("--channels", type=whole(1), nargs="+", metavar="C",
        help="of the stages (rescnn) or the convolution (gru); fewer for trials")  # fmt: skip
    add("--steps", type=whole(1), required=True, metavar="N", help="updates")
    add("--batch-size", type=whole(2), default=64, metavar="B",
        help="crops of an update; more give triplets harder negatives")  # fmt: skip
    add("--per-speaker", type=whole(2), default=4, metavar="K", help="of a batch of triplets")
    add("--frames", type=whole(16), default=WINDOW, metavar="N", help="of a crop")
    add("--lr", type=number(1e-9), default=1e-3, metavar="RATE",
        help="largest learning rate; triplets want a tenth of that of softmax")  # fmt: skip
    add("--save-every", type=whole(1), default=500, metavar="N", help="steps between checkpoints")
    add("--workers", type=whole(0), default=0, metavar="N", help="processes that read ahead")
    add("--threads", type=whole(0), default=0, metavar="N", help="on the CPU; 0: all cores")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--seed", type=SEED, default=0, help="of weights, batches and dropout")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Train a phase, or go on training it."""
    _check(arguments)
    import torch

    from dnn.data.sources import Subset, make_labels
    from dnn.data.voiced import in_memory

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.librispeech:
        source, utt2spk = open_librispeech(arguments.librispeech, arguments.sets)
    else:
        from ivector.data import read_table

        source, utt2spk = by_frame(arguments.features), read_table(arguments.utt2spk, str)
        source = Subset.by_ids(source, [u for u in source.ids if u in utt2spk])
        if len(source) < len(utt2spk):
            logger.warning("%d utterances have no features", len(utt2spk) - len(source))
        source = in_memory(source)
    labels, speakers = make_labels(source.ids, utt2spk)
    network: dict[str, Any] = {}
    if arguments.channels:
        one = arguments.architecture == "gru"
        network["channels"] = arguments.channels[0] if one else tuple(arguments.channels)
    trainer = make_trainer(
        source,
        labels,
        speakers,
        arguments.out,
        phase=arguments.phase,
        n_steps=arguments.steps,
        architecture=arguments.architecture,
        network=network,
        init=arguments.init,
        batch_size=arguments.batch_size,
        per_speaker=arguments.per_speaker,
        rate=arguments.lr,
        n_frames=arguments.frames,
        device=arguments.device,
        seed=arguments.seed,
        log_every=max(1, min(50, arguments.steps // 50)),
        save_every=arguments.save_every,
        n_workers=arguments.workers,
    )
    return 0 if trainer.fit().finished else STOPPED


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.features is None) == (arguments.librispeech is None):
        raise UsageError("give --features with --utt2spk, or --librispeech")
    if (arguments.utt2spk is None) != (arguments.features is None):
        raise UsageError("--features and --utt2spk go together")
    if arguments.sets and not arguments.librispeech:
        raise UsageError("--sets: belongs to --librispeech")
    if arguments.phase == "triplet" and arguments.batch_size % arguments.per_speaker:
        raise UsageError("--batch-size: must be a multiple of --per-speaker")
    if arguments.architecture == "gru" and len(arguments.channels or ()) > 1:
        raise UsageError("--channels: the GRU network has one convolution; give one number")


if __name__ == "__main__":
    raise SystemExit(run(build_parser(), main))
