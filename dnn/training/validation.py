"""Measures of a network during its training: EER on a trial list, accuracy among known speakers.

A validation is called with the model and the loss, and returns numbers by name; `criterion` names
the one that tells better from worse, `larger_is_better` which way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dnn.embedding.extraction import Source, extract
from ivector.base.errors import DataError

if TYPE_CHECKING:
    import torch

    from dnn.losses.classification import SpeakerLoss
    from dnn.models.base import SpeakerNetwork

TRIALS_AT_ONCE = 100_000


class Validation(Protocol):
    """What a trainer measures now and then."""

    criterion: str
    larger_is_better: bool

    def __call__(
        self, model: SpeakerNetwork, loss: SpeakerLoss, device: torch.device
    ) -> dict[str, float]:
        """Measures by name."""
        ...


class TrialValidation:
    """Equal error rate of cosine scores on a trial list.

    Parameters
    ----------
    source : Source
    enrol : sequence of sequence of int
        Utterances of each enrolment, whose unit embeddings are averaged.
    trials : ndarray (n_trials, 2) int
        Enrolment, and utterance tested.
    is_target : ndarray (n_trials,) bool

    Raises
    ------
    DataError
        Trials of only one kind.
    """

    criterion = "eer"
    larger_is_better = False

    def __init__(
        self,
        source: Source,
        enrol: Sequence[Sequence[int]],
        trials: np.ndarray,
        is_target: np.ndarray,
    ):
        self.source = source
        self.is_target = np.asarray(is_target, bool)
        if self.is_target.all() or not self.is_target.any():
            raise DataError("an EER needs trials of both kinds, target and nontarget")
        trials = np.asarray(trials, np.int64).reshape(-1, 2)
        used = [*trials[:, 1].tolist(), *(i for group in enrol for i in group)]
        self.indices = np.unique(np.array(used, np.int64))
        self.enrol = [np.searchsorted(self.indices, group) for group in enrol]
        self.models, self.tests = trials[:, 0], np.searchsorted(self.indices, trials[:, 1])

    @classmethod
    def from_lists(
        cls,
        source: Source,
        trials: Sequence[tuple[str, str, bool | None]],
        enroll: dict[str, list[str]] | None = None,
    ) -> TrialValidation:
        """From a trial list by ids, and enrolments of several utterances.

        Parameters
        ----------
        source : Source
        trials : sequence of ivector.data.Trial
        enroll : dict of str to list of str, optional
            Utterances of each enrolment id; others are utterances themselves.

        Raises
        ------
        DataError
            An id without features, or a trial without label.
        """
        where = {key: i for i, key in enumerate(source.ids)}
        models: dict[str, int] = {}
        groups: list[list[int]] = []
        pairs, labels = [], []
        for enrol, test, is_target in trials:
            if is_target is None:
                raise DataError(f"trial {enrol} {test} has no label; an EER needs them")
            if enrol not in models:
                models[enrol] = len(groups)
                groups.append([_place(where, u) for u in (enroll or {}).get(enrol, [enrol])])
            pairs.append((models[enrol], _place(where, test)))
            labels.append(is_target)
        return cls(source, groups, np.array(pairs), np.array(labels))

    def __call__(
        self, model: SpeakerNetwork, loss: SpeakerLoss, device: torch.device
    ) -> dict[str, float]:
        """``{"eer": ...}``, a share of 1."""
        unit = _unit(extract(model, self.source, self.indices, device=device))
        models = _unit(np.stack([unit[group].mean(axis=0) for group in self.enrol]))
        scores = np.empty(len(self.tests), np.float32)
        for at in range(0, len(scores), TRIALS_AT_ONCE):
            part = slice(at, at + TRIALS_AT_ONCE)
            scores[part] = np.einsum("td,td->t", models[self.models[part]], unit[self.tests[part]])
        return {"eer": equal_error_rate(scores[self.is_target], scores[~self.is_target])}


class AccuracyValidation:
    """Share of utterances whose speaker gets the largest score of all training speakers.

    Parameters
    ----------
    source : Source
    labels : ndarray (n_utterances,) int
        Speakers in the numbers of training.
    """

    criterion = "accuracy"
    larger_is_better = True

    def __init__(self, source: Source, labels: np.ndarray):
        self.source, self.labels = source, np.asarray(labels, np.int64)
        if len(self.labels) != len(source.ids):
            raise DataError(f"{len(self.labels)} labels for {len(source.ids)} utterances")

    def __call__(
        self, model: SpeakerNetwork, loss: SpeakerLoss, device: torch.device
    ) -> dict[str, float]:
        """``{"accuracy": ...}``, a share of 1.

        Raises
        ------
        DataError
            The loss has no classes.
        """
        import torch

        from dnn.losses.classification import Classifier

        if not isinstance(loss, Classifier):
            raise DataError(f"{loss.name} has no classes to be right about; validate on trials")
        vectors = torch.from_numpy(extract(model, self.source, device=device)).to(device)
        training = model.training
        try:
            with torch.inference_mode():
                answers = loss.logits(model.eval().head(vectors)).argmax(1).cpu().numpy()
        finally:
            model.train(training)
        return {"accuracy": float((answers == self.labels).mean())}


class Validations:
    """Several validations at once; the first one's criterion decides."""

    def __init__(self, *parts: Validation):
        self.parts = parts
        self.criterion, self.larger_is_better = parts[0].criterion, parts[0].larger_is_better

    def __call__(
        self, model: SpeakerNetwork, loss: SpeakerLoss, device: torch.device
    ) -> dict[str, float]:
        """All measures."""
        return {
            name: value for part in self.parts for name, value in part(model, loss, device).items()
        }


def equal_error_rate(target: np.ndarray, nontarget: np.ndarray) -> float:
    """Rate at which misses equal false alarms, between the two thresholds where they cross.

    Parameters
    ----------
    target, nontarget : ndarray (n_targets,), (n_nontargets,)
        Scores; larger for targets.
    """
    target, nontarget = np.sort(target), np.sort(nontarget)
    thresholds = np.unique(np.concatenate([target, nontarget]))
    p_miss = np.searchsorted(target, thresholds, side="left") / len(target)
    p_fa = 1 - np.searchsorted(nontarget, thresholds, side="left") / len(nontarget)
    p_miss, p_fa = np.append(p_miss, 1.0), np.append(p_fa, 0.0)
    i = int(np.argmax(p_miss >= p_fa))
    if i == 0:
        return float(p_miss[0])
    # On the line between the last point above and the first below.
    above, below = p_fa[i - 1] - p_miss[i - 1], p_miss[i] - p_fa[i]
    share = above / (above + below)
    return float(p_miss[i - 1] + share * (p_miss[i] - p_miss[i - 1]))


def _place(where: dict[str, int], utterance: str) -> int:
    if utterance not in where:
        raise DataError(
            f"utterance {utterance} of the trials has no features; give those of the trials too"
        )
    return where[utterance]


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)
