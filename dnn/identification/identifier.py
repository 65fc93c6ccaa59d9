"""Closed-set identification: which of its training speakers does a network hear?

A classification network gives every class a log-posterior; the largest is the answer. Here are the
answers to a set, what they are worth (accuracy at rank 1 and 5, who was taken for whom), the
picture of it, and the file of predictions.

Dimension legend: N utterances, C classes, K crops of an utterance.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn.data.sources import Source
from dnn.extra import told_extra
from ivector.base.errors import DataError, NotFiniteError, UsageError
from ivector.base.files import atomic_path, write_text
from ivector.base.foreign.names import figure_text
from ivector.base.portable import processor

if TYPE_CHECKING:
    import torch

    from dnn.embedding.export import SpeakerClassifier
    from dnn.losses.classification import SpeakerLoss
    from dnn.models.base import SpeakerNetwork

RANK = 5
Z = 1.959964  # of a 95 % interval
UTTERANCES_AT_ONCE = 4096
# Of a batch of features. A processor is fastest when activations stay in its caches: Conformers on
# 4 s twice as fast as with 1,600,000.
NUMBERS_AT_ONCE = {"cpu": 60_000, "cuda": 1_600_000}
WORST_PAIRS = 20
NAMES_SHOWN = 60  # classes up to which the axes of the picture have names


class Answers(NamedTuple):
    """Log-posteriors (N, C), the seconds that took, and what is right.

    `labels` are (N,) int64; `cpu_seconds` are of this process, summed over its threads.

    Examples
    --------
    >>> scores = np.log([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]])
    >>> answers = Answers(scores, seconds=0.5, labels=np.array([0, 1, 2]))
    >>> round(answers.accuracy, 2), answers.confusion.tolist()
    (0.67, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    """

    scores: np.ndarray
    seconds: float
    labels: np.ndarray
    cpu_seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the utterances whose speaker scores highest."""
        return top_k_accuracy(self.scores, self.labels, 1)

    @property
    def top5(self) -> float:
        """Share of the utterances whose speaker is among the five that score highest."""
        return top_k_accuracy(self.scores, self.labels, min(RANK, self.scores.shape[1]))

    @property
    def rate(self) -> float:
        """Utterances per second, reading them included."""
        return len(self.labels) / max(self.seconds, 1e-9)

    @property
    def confusion(self) -> np.ndarray:
        """Utterances of the row's speaker taken for the column's, (C, C) int64."""
        n_classes = self.scores.shape[1]
        cells = self.labels * n_classes + self.scores.argmax(axis=1)
        return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def score_classes(
    classifier: SpeakerClassifier,
    source: Source,
    *,
    n_crops: int = 0,
    crop_frames: int = 300,
    device: str | torch.device = "cpu",
    show: bool = False,
) -> np.ndarray:
    """Log-posterior of every class, for every utterance.

    Parameters
    ----------
    classifier : SpeakerClassifier
        Of `dnn.embedding.export.load_classifier`.
    source : Source
    n_crops : int
        Average the posteriors of so many crops, spread evenly over the utterance, instead of
        taking it whole; 0 takes it whole.
    crop_frames : int
        Length of the crops.
    device : str or torch.device
    show : bool
        Log the progress.

    Returns
    -------
    ndarray (N, C), float32

    Raises
    ------
    DataError
        Features that the network does not take, an utterance without frames, or posteriors that
        are not finite.

    Examples
    --------
    >>> from dnn import build, build_loss
    >>> from dnn.data.sources import ArraySource
    >>> from dnn.embedding.export import SpeakerClassifier
    >>> network, loss = build("xvector-small", n_features=8), build_loss("softmax", 128, 2)
    >>> source = ArraySource(["u1", "u2", "u3"], list(np.ones((3, 30, 8), np.float32)))
    >>> score_classes(SpeakerClassifier(network, loss, ["ann", "bob"]), source).shape
    (3, 2)
    """
    from dnn.embedding.trials import Crops

    view = Crops(source, n_crops, crop_frames) if n_crops else source
    scores = _log_posteriors(classifier.model, classifier.loss, view, device, show)
    if n_crops:
        crops = scores.reshape(len(source), n_crops, -1).astype(np.float64)
        scores = np.log(np.exp(crops).mean(axis=1) + np.finfo(np.float32).tiny).astype(np.float32)
    if not np.isfinite(scores).all():
        worst = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise NotFiniteError(
            f"{source.ids[worst]}: its scores are not finite; look at the network's training"
        )
    return scores


def answer(
    classifier: SpeakerClassifier, source: Source, labels: np.ndarray, **options: Any
) -> Answers:
    """Score utterances whose speakers are known, against the clock.

    Takes and raises what `score_classes` does.

    Examples
    --------
    >>> from dnn import build, build_loss
    >>> from dnn.data.sources import ArraySource
    >>> from dnn.embedding.export import SpeakerClassifier
    >>> network, loss = build("xvector-small", n_features=8), build_loss("softmax", 128, 2)
    >>> source = ArraySource(["u1", "u2", "u3"], list(np.ones((3, 30, 8), np.float32)))
    >>> answers = answer(SpeakerClassifier(network, loss, ["ann", "bob"]), source, [0, 0, 1])
    >>> answers.scores.shape, answers.seconds > 0
    ((3, 2), True)
    """
    begin, cpu_begin = time.perf_counter(), time.process_time()
    scores = score_classes(classifier, source, **options)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return Answers(scores, seconds, np.asarray(labels, np.int64), cpu_seconds)


def _log_posteriors(
    model: SpeakerNetwork,
    loss: Any,
    source: Source,
    device: str | torch.device,
    show: bool = False,
) -> np.ndarray:
    """Log-posteriors (N, C) float32; the classes are compared where the loss's weights are."""
    import torch

    from dnn.embedding.extraction import extract

    numbers = NUMBERS_AT_ONCE.get(torch.device(device).type, NUMBERS_AT_ONCE["cpu"])
    max_frames = max(1, numbers // source.n_features)
    vectors = torch.from_numpy(
        extract(model, source, max_frames=max_frames, device=device, show=show)
    )
    place = next(loss.parameters()).device
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()
            parts = [
                loss.logits(model.head(part.to(place)).float()).log_softmax(1).cpu()
                for part in vectors.split(UTTERANCES_AT_ONCE)
            ]
    finally:
        model.train(training)
    return torch.cat(parts).numpy()


class IdentificationValidation:
    """Accuracy at rank 1 and 5 among the training speakers, and the time that it takes.

    Parameters
    ----------
    source : Source
    labels : ndarray (N,) int

    Attributes
    ----------
    seconds, cpu_seconds : float
        Spent in all calls, by the clock and by the processor, to be taken off the training's.

    Examples
    --------
    >>> import torch
    >>> from dnn import build, build_loss
    >>> from dnn.data.sources import ArraySource
    >>> network, loss = build("xvector-small", n_features=8), build_loss("softmax", 128, 2)
    >>> source = ArraySource(["u1", "u2", "u3"], list(np.ones((3, 30, 8), np.float32)))
    >>> validation = IdentificationValidation(source, [0, 0, 1])  # for a Trainer, or called:
    >>> sorted(validation(network, loss, torch.device("cpu")))
    ['accuracy', 'top5']
    """

    criterion = "accuracy"
    larger_is_better = True

    def __init__(self, source: Source, labels: np.ndarray):
        self.source, self.labels = source, np.asarray(labels, np.int64)
        self.seconds = self.cpu_seconds = 0.0

    def __call__(
        self, model: SpeakerNetwork, loss: SpeakerLoss, device: torch.device
    ) -> dict[str, float]:
        """``{"accuracy": ..., "top5": ...}``, shares of 1."""
        begin, cpu_begin = time.perf_counter(), time.process_time()
        scores = _log_posteriors(model, loss, self.source, device)
        answers = Answers(scores, 0.0, self.labels)
        self.seconds += time.perf_counter() - begin
        self.cpu_seconds += time.process_time() - cpu_begin
        return {"accuracy": answers.accuracy, "top5": answers.top5}


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of utterances whose own class is among the k that score highest.

    Classes that score as high as the right one are ranked before it, so that a network whose
    scores are all the same is right about nothing.

    Parameters
    ----------
    scores : ndarray (N, C)
    labels : ndarray (N,) int
    k : int

    Raises
    ------
    DataError
        No utterances, or a label beyond the classes.
    UsageError
        A k below 1 or beyond the number of classes.

    Examples
    --------
    >>> scores = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
    >>> [top_k_accuracy(scores, np.array([0, 2]), k) for k in (1, 2)]
    [0.5, 1.0]
    """
    n_classes = scores.shape[1]
    if not 1 <= k <= n_classes:
        raise UsageError(f"a rank is from 1 to the {n_classes} classes, not {k}")
    if not len(labels):
        raise DataError("there are no utterances to be right about")
    if len(labels) != len(scores) or labels.min() < 0 or labels.max() >= n_classes:
        raise DataError(
            f"{len(scores)} utterances and {len(labels)} labels from {labels.min()} to "
            f"{labels.max()}; give one each, below {n_classes}"
        )
    own = scores[np.arange(len(labels)), labels]
    return float(((scores >= own[:, None]).sum(axis=1) <= k).mean())


def worst_pairs(confusion: np.ndarray, speakers: Sequence[str]) -> list[dict[str, Any]]:
    """Who is taken most often for whom: ``{"speaker", "taken_for", "utterances"}`` by number.

    Examples
    --------
    >>> worst_pairs(np.array([[9, 1], [0, 10]]), ["ann", "bob"])
    [{'speaker': 'ann', 'taken_for': 'bob', 'utterances': 1}]
    """
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST_PAIRS]
    rows, columns = np.unravel_index(order, wrong.shape)
    return [
        {"speaker": speakers[i], "taken_for": speakers[j], "utterances": int(wrong[i, j])}
        for i, j in zip(rows, columns)
        if wrong[i, j]
    ]


def wilson_interval(n_right: int, n_tests: int) -> tuple[float, float]:
    """95 % interval of a share, for independent tests (E. B. Wilson, JASA 1927).

    Examples
    --------
    >>> [round(share, 3) for share in wilson_interval(95, 100)]
    [0.888, 0.978]
    """
    share, square = n_right / n_tests, Z**2 / n_tests
    middle = (share + square / 2) / (1 + square)
    half = Z * np.sqrt(share * (1 - share) / n_tests + square / (4 * n_tests)) / (1 + square)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def measures(answers: Answers, speakers: Sequence[str]) -> dict[str, Any]:
    """What a test is worth, as plain numbers for a file: shares, counts and speed.

    Examples
    --------
    >>> scores = np.log([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    >>> told = measures(Answers(scores, 0.5, np.array([0, 1, 1, 1])), ["ann", "bob"])
    >>> told["top1"], told["by_speaker"]
    (0.75, {'ann': [1, 1], 'bob': [2, 3]})
    """
    confusion, n_tests = answers.confusion, len(answers.labels)
    right, tests = np.diag(confusion), confusion.sum(axis=1)
    return {
        "utterances": n_tests,
        "top1": answers.accuracy,
        "top1_interval": wilson_interval(round(answers.accuracy * n_tests), n_tests),
        "top5": answers.top5,
        "top5_interval": wilson_interval(round(answers.top5 * n_tests), n_tests),
        "instances_per_s": round(answers.rate, 3),
        "cpu_seconds": round(answers.cpu_seconds, 3),
        "by_speaker": {name: [int(r), int(n)] for name, r, n in zip(speakers, right, tests) if n},
        "worst_pairs": worst_pairs(confusion, speakers),
    }


def plot_confusion(
    path: str | os.PathLike, confusion: np.ndarray, speakers: Sequence[str], title: str = ""
) -> None:
    """Draw a confusion matrix, each row as shares of its speaker's utterances.

    Parameters
    ----------
    path : path-like
        ``.png`` or ``.svg``.
    confusion : ndarray (C, C)
        True speakers in rows, answers in columns.
    speakers : sequence of str
    title : str

    Raises
    ------
    UsageError
        Another ending.
    DataError
        The file cannot be written.

    Examples
    --------
    >>> plot_confusion("confusion.png", np.array([[9, 1], [0, 10]]), ["ann", "bob"])
    >>> Path("confusion.png").exists()
    True
    """
    kind = Path(path).suffix[1:].lower()
    from dnn.curves import SETTINGS

    metadata: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    if kind not in metadata:
        raise UsageError(f"{path}: pictures are written as .png or .svg; give such a name")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    n_classes = len(shares)
    with mpl.rc_context({**SETTINGS, "font.size": 9}):
        side = float(np.clip(0.17 * n_classes + 2.5, 5.5, 11))
        figure = Figure(figsize=(side + 0.8, side), dpi=130, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
        axes.set(xlabel="Answer", ylabel="Speaker", title=figure_text(title))
        if n_classes <= NAMES_SHOWN:
            labels = [figure_text(name.replace("_", " ")) for name in speakers]
            axes.set_xticks(range(n_classes), labels, rotation=90, fontsize=7)
            axes.set_yticks(range(n_classes), labels, fontsize=7)
        figure.colorbar(image, ax=axes, shrink=0.8, label="Share of the speaker's utterances (%)")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata[kind])


def write_predictions(
    path: str | os.PathLike, ids: Sequence[str], categories: Sequence[str]
) -> None:
    """Write ``Id,Category`` with a header, as the speaker-classification task takes it.

    Examples
    --------
    >>> write_predictions("predictions.csv", ["u1", "u2"], ["ann", "bob"])
    >>> Path("predictions.csv").read_text().split()
    ['Id,Category', 'u1,ann', 'u2,bob']
    """
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerows([("Id", "Category"), *zip(ids, categories, strict=True)])
    write_text(path, rows.getvalue())


@told_extra()
def describe_machine(device: torch.device) -> dict[str, Any]:
    """Hardware and software that speeds are of: processor, cores, memory, GPU, torch.

    Examples
    --------
    >>> import torch
    >>> describe_machine(torch.device("cpu"))["device"]
    'cpu'
    """
    import platform

    import torch

    found: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "torch": torch.__version__,
        "system": platform.system(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(size / 2**30, 1)
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
