"""Score a trial list with a back-end: ``python -m plda.score MODEL ENROL TEST TRIALS SCORES``.

Does what Kaldi's ``ivector-plda-scoring`` does, on vectors and back-ends of any origin. A back-end
with transforms of its own applies them first; for Kaldi's plda alone they are given as files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ivector.base.cli import Parser
from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import atomic_write, read_lines
from plda.commands import COMMANDS


def make_parser() -> Parser:
    """Describe the command line."""
    parser = Parser(prog="python -m plda.score", description=COMMANDS["score"].sentence)
    parser.add_argument(
        "model",
        help="Kaldi's plda file, or a back-end: .npz, or a folder of run.sh, Kaldi, VBx or "
        "pyannote",
    )
    parser.add_argument(
        "enrol", help="enrolment vectors: Kaldi's ark or scp, .npz, .npy, HDF5, .csv or .tsv"
    )
    parser.add_argument("test", help="test vectors, likewise")
    parser.add_argument("trials", help="'enrol-id test-id' a line; further fields are ignored")
    parser.add_argument("scores", help="written: 'enrol-id test-id score', in the trials' order")
    parser.add_argument(
        "--num-utts", help="utterances behind each enrolment vector, 'id count' a line; without"
        " it all count as 1, which is right only for single-utterance enrolment",
    )  # fmt: skip
    parser.add_argument("--mean", help="Kaldi's mean.vec, subtracted first")
    parser.add_argument("--transform", help="Kaldi's transform.mat (LDA), applied next")
    parser.add_argument(
        "--length-norm", action="store_true", help="then scale to length √D, as training did"
    )
    parser.add_argument(
        "--no-normalize-length", action="store_true", help="leave out PLDA's own length norm"
    )
    parser.add_argument(
        "--simple-length-norm", action="store_true", help="plain length norm in PLDA's space"
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, score, write."""
    from sklearn.pipeline import Pipeline

    from plda.domains.evidence import warn_of_another_domain
    from plda.formats.vectors import read_counts, read_ids_vectors

    model, steps = _load(arguments)
    options = _scoring_options(arguments, model)
    enrol_ids, enrol = read_ids_vectors(arguments.enrol)
    test_ids, test = read_ids_vectors(arguments.test)
    n_enrol: Any = 1
    if arguments.num_utts:
        counts = read_counts(arguments.num_utts)
        if missing := [key for key in enrol_ids if key not in counts]:
            raise DataError(
                f"{arguments.num_utts}: no count for {missing[0]}, one of {len(missing)}"
            )
        n_enrol = [counts[key] for key in enrol_ids]
    pairs = _read_trials(arguments.trials)
    rows = _look_up([pair[0] for pair in pairs], enrol_ids, arguments.enrol)
    columns = _look_up([pair[1] for pair in pairs], test_ids, arguments.test)
    if hasattr(model, "psi_"):
        with named(arguments.test):
            backend = Pipeline([*((str(k), step) for k, step in enumerate(steps)), ("plda", model)])
            warn_of_another_domain(backend, test, test_ids, arguments.test)
    for step in steps:
        with named(arguments.enrol):
            enrol = step.transform(enrol)
        with named(arguments.test):
            test = step.transform(test)
    scores = model.scorer(enrol, test, n_enrol, **options).trials(rows, columns)
    with atomic_write(arguments.scores, "w") as file:
        for (enrol_id, test_id), score in zip(pairs, scores.tolist()):
            file.write(f"{enrol_id} {test_id} {score:.12g}\n")


def _load(arguments: argparse.Namespace) -> tuple[Any, list[Any]]:
    """Return the model that scores and the transforms to apply before it."""
    from plda.formats.exchange import read_backend
    from plda.formats.models import read_mean, read_transform
    from plda.transforms.length import LengthNorm

    given = []
    if arguments.mean:
        given.append(read_mean(arguments.mean))
    if arguments.transform:
        given.append(read_transform(arguments.transform))
    if arguments.length_norm:
        given.append(LengthNorm())
    steps = [step for _, step in read_backend(arguments.model).steps]
    if not hasattr(steps[-1], "scorer"):
        name = type(steps[-1]).__name__
        raise DataError(f"{arguments.model}: ends in {name}, not in PLDA or another model")
    if given and len(steps) > 1:
        raise UsageError(
            f"{arguments.model} holds its own transforms; leave out --mean, --transform and"
            " --length-norm"
        )
    return steps[-1], given + steps[:-1]


def _scoring_options(arguments: argparse.Namespace, model: Any) -> dict[str, bool]:
    """What PLDA's scores take, and no other model's."""
    given = {
        "normalize_length": not arguments.no_normalize_length,
        "simple_length_norm": arguments.simple_length_norm,
    }
    if hasattr(model, "psi_"):
        return given
    if given != {"normalize_length": True, "simple_length_norm": False}:
        raise UsageError(
            f"--no-normalize-length and --simple-length-norm are of PLDA; {arguments.model} ends "
            f"in {type(model).__name__}"
        )
    return {}


def _read_trials(path: str) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) == 1:
            raise DataError(f"{path}, line {number}: expected 'enrol-id test-id', got {line!r}")
        if fields:
            pairs.append((fields[0], fields[1]))
    if not pairs:
        raise DataError(f"{path}: holds no trials")
    return pairs


def _look_up(keys: Sequence[str], ids: Sequence[str], path: str) -> Any:
    import numpy as np

    row_of = {key: row for row, key in enumerate(ids)}
    try:
        return np.array([row_of[key] for key in keys], dtype=np.int64)
    except KeyError as error:
        raise DataError(f"{path}: no vector for {error.args[0]}, which a trial names") from error
