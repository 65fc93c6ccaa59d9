"""Scores of a trial list by cosine, of whole utterances or of several crops of each.

An enrolment of several utterances is the average of their unit embeddings, scaled to unit length.
With crops, a score is the mean cosine over all pairs of a crop of the enrolment and one of the
test, as J. S. Chung et al. ("In defence of metric learning for speaker recognition", Interspeech
2020, section 4.2) average distances: the inner product of the averages of the unit embeddings.

Dimension legend: N utterances, K crops of each, E enrolments, D embedding dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dnn.data.sources import Source, Subset, Transformed, normalise_frames
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write, read_lines

if TYPE_CHECKING:
    import torch

    from dnn.models.base import SpeakerNetwork

# What config.json says of networks whose every frame is normalised for itself, as Deep Speaker's.
BY_FRAME = "frames"
# A front end that leaves features as they are, for config.json.
UNTOUCHED = {"delta_order": 0, "normalisation": "none", "voiced_only": False}
TRUTHS = {"1": True, "0": False, "-1": None}
LABELS = {"target": True, "nontarget": False}
TRIALS_AT_ONCE = 100_000


class Trial(NamedTuple):
    """One comparison; `is_target` is None where the truth is not known."""

    enrol: str
    test: str
    is_target: bool | None


class Crops(Source):
    """Crops of equal length, spread evenly over each utterance of a source.

    Crop k of utterance i is number ``i * n_crops + k``. Utterances shorter than a crop are
    repeated from their beginning.

    Parameters
    ----------
    source : Source
    n_crops : int
        K, of each utterance.
    n_frames : int
        Length of a crop.
    """

    def __init__(self, source: Source, n_crops: int, n_frames: int):
        if n_crops < 1 or n_frames < 1:
            raise UsageError(f"{n_crops} crops of {n_frames} frames: at least 1 each are needed")
        if len(empty := np.flatnonzero(source.lengths < 1)):
            raise DataError(f"{source.ids[empty[0]]}: has no frames; leave it out")
        self.source, self.n_crops, self.n_frames = source, n_crops, n_frames
        self.ids = [f"{key} (crop {k + 1})" for key in source.ids for k in range(n_crops)]
        self.lengths = np.full(len(self.ids), n_frames, np.int64)
        self.n_features = source.n_features

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        utterance, k = divmod(index, self.n_crops)
        length = int(self.source.lengths[utterance])
        if length < self.n_frames:
            frames = self.source.read(utterance)
            return np.take(frames, np.arange(start, stop), axis=0, mode="wrap")
        first = (length - self.n_frames) * k // max(self.n_crops - 1, 1)
        return self.source.read(utterance, first + start, stop - start)


def score_trials(
    model: SpeakerNetwork,
    source: Source,
    trials: Sequence[tuple[str, str, bool | None]],
    enroll: Mapping[str, Sequence[str]] | None = None,
    *,
    n_crops: int = 0,
    crop_frames: int = 400,
    max_frames: int = 40_000,
    device: str | torch.device = "cpu",
    n_threads: int = 0,
    show: bool = False,
) -> np.ndarray:
    """Cosine scores of trials; only the utterances that they name are embedded.

    Parameters
    ----------
    model : SpeakerNetwork
    source : Source
    trials : sequence of (enrol, test, is_target)
        As `read_trial_list` or `ivector.data.read_trials` gives them.
    enroll : mapping of str to sequence of str, optional
        Utterances of each enrolment id; other ids are utterances themselves.
    n_crops : int
        Crops of each utterance; 0 embeds them whole.
    crop_frames : int
    max_frames, device, n_threads, show
        As for `dnn.embedding.extraction.extract`.

    Returns
    -------
    ndarray (n_trials,), float32
        Larger for the same speaker; at most 1.

    Raises
    ------
    DataError
        No trials, or an utterance without features.
    """
    from dnn.embedding.extraction import extract

    needed = needed_utterances(trials, enroll)
    chosen: Source = Subset.by_ids(source, needed)
    if n_crops:
        chosen = Crops(chosen, n_crops, crop_frames)
    vectors = extract(
        model, chosen, max_frames=max_frames, device=device, n_threads=n_threads, show=show
    )
    if n_crops:
        vectors = vectors.reshape(len(needed), n_crops, -1)
    return score_vectors(needed, vectors, trials, enroll)


def score_vectors(
    ids: Sequence[str],
    vectors: np.ndarray,
    trials: Sequence[tuple[str, str, bool | None]],
    enroll: Mapping[str, Sequence[str]] | None = None,
) -> np.ndarray:
    """Cosine scores of trials between embeddings that are there already.

    Parameters
    ----------
    ids : sequence of str (n_utterances,)
    vectors : ndarray (N, D) or (N, K, D)
        Of whole utterances, or of the crops of each.
    trials, enroll
        As for `score_trials`.

    Returns
    -------
    ndarray (n_trials,), float32

    Raises
    ------
    DataError
        No trials, or an utterance without vector.
    """
    by_crop = np.ndim(vectors) == 3
    where = {key: row for row, key in enumerate(ids)}
    if len(where) != len(ids) or len(ids) != len(vectors):
        raise DataError(f"{len(where)} different ids for {len(vectors)} vectors")
    for key in needed_utterances(trials, enroll):
        if key not in where:
            raise DataError(f"utterance {key} of the trials has no vector; extract it too")
    unit = unit_vectors(vectors)
    tests = unit.mean(axis=1) if by_crop else unit
    numbers = {enrol: i for i, enrol in enumerate(dict.fromkeys(t[0] for t in trials))}
    groups = [[where[u] for u in (enroll or {}).get(key, [key])] for key in numbers]
    models = np.stack([tests[group].mean(axis=0) for group in groups])
    if not by_crop:
        models = unit_vectors(models)
    pairs = np.array([(numbers[t[0]], where[t[1]]) for t in trials], np.int64)
    return inner_products(models, tests, pairs)


def inner_products(enrol: np.ndarray, test: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Inner products of enrolments (E, D) and tests (N, D) in pairs (n_trials, 2): (n_trials,)."""
    scores = np.empty(len(pairs), np.float32)
    for at in range(0, len(pairs), TRIALS_AT_ONCE):
        part = slice(at, at + TRIALS_AT_ONCE)
        rows, columns = pairs[part].T
        scores[part] = np.einsum("td,td->t", enrol[rows], test[columns])
    return scores


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., D) scaled to unit length, float32; a zero vector stays."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def needed_utterances(
    trials: Sequence[tuple[str, str, bool | None]],
    enroll: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Utterances that trials and their enrolments name, sorted.

    Raises
    ------
    DataError
        There are no trials, or an enrolment has no utterances.
    """
    if not len(trials):
        raise DataError("there are no trials to score")
    groups = {trial[0]: (enroll or {}).get(trial[0], [trial[0]]) for trial in trials}
    if empty := [enrol for enrol, group in groups.items() if not len(group)]:
        raise DataError(f"enrolment {empty[0]} has no utterances; leave its trials out")
    return sorted({*(t[1] for t in trials), *(u for group in groups.values() for u in group)})


def open_as_trained(
    config: Mapping[str, object], features: str | os.PathLike, vad: str | os.PathLike | None = None
) -> Source:
    """Stored features, processed as a network's ``config.json`` says they were in its training.

    Parameters
    ----------
    config : mapping
        As `dnn.embedding.export.read_config` gives it. Its ``front_end`` holds the options of an
        `ivector.pipeline.FrontEnd`, or "frames" for frames normalised each for itself.
    features, vad
        As for `dnn.data.voiced.open_front_end`.

    Raises
    ------
    DataError
        They cannot be read, or the configuration says something else.
    """
    from dnn.data.sources import open_features
    from dnn.data.voiced import FRONT_END, open_front_end

    options = config.get("front_end", FRONT_END)
    if options == BY_FRAME:
        return Transformed(open_features(features), normalise_frames)
    if not isinstance(options, dict):
        raise DataError(f"the network's front_end {options!r} is unknown; export it again")
    try:
        return open_front_end(features, vad, options)
    except TypeError as error:
        raise DataError(f"the network's front_end: {error}; export it again") from error


def read_vectors(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Read ids and vectors (N, D) of ``.npz``, ``.ark`` or ``.scp``, as `dnn.extract` writes them.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds something else.
    """
    if Path(path).suffix == ".npz":
        from ivector.base.files import VECTORS, load_model

        arrays, _ = load_model(path, "vectors", VECTORS)
        return arrays["ids"].tolist(), arrays["vectors"]
    from ivector.formats.arks import read_matrix

    return read_matrix(path)


def read_trial_list(path: str | os.PathLike) -> list[Trial]:
    """Read trials in the file's order, repeats included, as a submission needs them.

    Parameters
    ----------
    path : path-like
        Lines ``enrol test target|nontarget``, ``enrol test``, or ``1|0|-1 enrol test`` (VoxCeleb,
        tiny-voxceleb), where a ``.wav`` behind an id is left out.

    Raises
    ------
    DataError
        The file is missing or empty, or a line is none of these.
    """
    trials = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) == 3 and fields[0] in TRUTHS and fields[2] not in LABELS:
            one, two = (name.removesuffix(".wav") for name in fields[1:])
            trials.append(Trial(one, two, TRUTHS[fields[0]]))
        elif len(fields) == 2 or (len(fields) == 3 and fields[2] in LABELS):
            trials.append(Trial(fields[0], fields[1], LABELS.get(fields[-1])))
        else:
            raise DataError(
                f"{path}:{number}: expected 'enrol test target|nontarget' or '1|0|-1 enrol test', "
                f"got {line!r}"
            )
    if not trials:
        raise DataError(f"{path}: holds no trials")
    return trials


def write_scores(
    path: str | os.PathLike,
    trials: Sequence[tuple[str, str, bool | None]],
    scores: np.ndarray,
    *,
    score_first: bool = False,
) -> None:
    """Write ``enrol test score`` lines, or ``score enrol test``, in the order of the trials.

    Parameters
    ----------
    path : path-like
    trials : sequence of (enrol, test, is_target)
    scores : ndarray (n_trials,)
    score_first : bool
        The layout that the tiny-voxceleb challenge takes as a submission.
    """
    if len(trials) != len(scores):
        raise UsageError(f"{len(scores)} scores for {len(trials)} trials")
    with atomic_write(Path(path), "w") as file:
        for (enrol, test, _), score in zip(trials, np.asarray(scores).tolist()):
            # str gives as few digits as read back to the same number.
            words = (str(score), enrol, test) if score_first else (enrol, test, str(score))
            file.write(" ".join(words) + "\n")
