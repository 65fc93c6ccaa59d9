"""The classical systems on a closed set: ``python -m recipes.identify_classical``.

i-vector + PLDA, every model of all its speaker's training utterances together (the book's
likelihood ratio), and GMM-UBM, every model the UBM adapted to them by MAP. Both are trained on the
part to train on of `recipes.cut_speakers`, whose features stand in EXP/features
(``python -m recipes.steps features``), and asked for the speaker of every test utterance.

EXP/ivector and EXP/gmm-ubm hold the models, and ``test/results.json`` as `dnn.identify` writes it.

Dimension legend: N tests, M models, C components, D features, R dimensions of i-vectors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.cli import Parser, number, run, whole
from ivector.base.files import write_text
from recipes.cut_speakers import CLOSED_SET

SYSTEMS = ("ivector", "gmm-ubm")
UTTERANCES_AT_ONCE = 64
CPU_SECONDS = "cpu_seconds"


def build_parser() -> Parser:
    """Arguments of the command."""
    from recipes.steps.common import make_parser

    parser = make_parser("identify_classical", "The classical systems on a closed set.")
    parser.prog = "python -m recipes.identify_classical"
    add = parser.add_argument
    add("--components", type=whole(1), default=32, help="of the i-vector system's UBM, full")
    add("--rank", type=whole(1), default=120, help="dimensions of the i-vectors")
    add("--plda-smoothing", type=number(0, 1), default=0.1, help="0 to 1")
    add("--gmm-components", type=whole(1), default=256, help="of the GMM-UBM's UBM, diagonal")
    add("--relevance", type=number(0), default=16.0, help="relevance factor of MAP")
    add("--top-n", type=whole(1), default=10, help="components scored in each frame")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Train and test both systems, those whose results stand there already excepted."""
    from recipes.engine.stage import dry_run, require

    if arguments.dry_run:
        dry_run()
    features = require(arguments.exp / "features", 1)
    closed_set = arguments.data / CLOSED_SET
    for system, normalisation in zip(SYSTEMS, ("cmn", "global_cmn")):
        folder = arguments.exp / system
        ubm = _train_ubm(arguments, system, normalisation, features, closed_set)
        upstream = {"features": features, "ubm": ubm}
        if system == "ivector":
            upstream |= _train_ivectors(arguments, upstream, closed_set)
        _test(arguments, system, folder, upstream, closed_set)


def _step(step: Any, arguments: argparse.Namespace, system: str, **given: Any) -> Any:
    """Arguments of a step of `recipes.steps`, its defaults but for those given."""
    common = {"--data": arguments.data, "--exp": arguments.exp, "--system": system,
              "--nj": arguments.nj, "--seed": arguments.seed, "--memory": arguments.memory,
              "--disk": arguments.disk}  # fmt: skip
    parsed = step.build_parser().parse_args([str(w) for pair in common.items() for w in pair])
    for name, value in given.items():
        setattr(parsed, name, value)
    return parsed


def _train_ubm(
    arguments: argparse.Namespace, system: str, normalisation: str, features: str, closed_set: Path
) -> str:
    """Train a system's UBM; its stamp."""
    from recipes.engine.stage import digest, require, stage
    from recipes.steps import ubm

    full = system == "ivector"
    options = {
        "num_components": arguments.components if full else arguments.gmm_components,
        "covariance": "full" if full else "diagonal",
        "seed": arguments.seed,
        "front_end": {
            "delta_order": 2, "delta_window": 3, "normalisation": normalisation, "cmn_window": 300
        },
    }  # fmt: skip
    given = {name: options[name] for name in ("num_components", "covariance")}
    step = _step(ubm, arguments, system, **given)
    target = arguments.exp / system / "ubm" / CLOSED_SET
    upstream = {"features": features, "training list": digest(closed_set / "train.utt2spk")}
    with stage(target, options, upstream, force=arguments.force) as work:
        if work is not None:
            with _cpu_counted(work):
                ubm.train(step, closed_set, options, work)
    return require(target, 4)


def _train_ivectors(
    arguments: argparse.Namespace, upstream: dict[str, str], closed_set: Path
) -> dict[str, str]:
    """Train extractor and back-end, and extract the training utterances; the stages' stamps."""
    from recipes.engine.stage import require, stage
    from recipes.steps import backend, total_variability

    system = arguments.exp / "ivector"
    options = {"rank": arguments.rank, "parametrisation": "classical", "seed": arguments.seed}
    step = _step(
        total_variability, arguments, "ivector", rank=arguments.rank, parametrisation="classical"
    )
    extractor = system / "tv" / CLOSED_SET
    with stage(extractor, options, upstream, force=arguments.force) as work:
        if work is not None:
            with _cpu_counted(work):
                total_variability.train(step, closed_set, system / "ubm" / CLOSED_SET, work)
    stamps = {"total variability": require(extractor, 4)}
    target = system / "backend" / CLOSED_SET
    options = {"plda_smoothing": arguments.plda_smoothing}
    step = _step(backend, arguments, "ivector", **options)
    with stage(target, options, {**upstream, **stamps}, force=arguments.force) as work:
        if work is not None:
            with _cpu_counted(work):
                vectors = _extract(arguments, _enrolment(arguments, closed_set)[2])
                _write_vectors(work / "ivectors.npz", vectors)
                backend.train(step, closed_set, work / "ivectors.npz", work)
    return {**stamps, "backend": require(target, 4)}


def _enrolment(
    arguments: argparse.Namespace, closed_set: Path
) -> tuple[list[str], list[list[str]], list[str]]:
    """Speakers, the usable training utterances of each, and all of these."""
    from ivector.base.errors import DataError
    from ivector.data import read_enroll

    usable = _corpus(arguments, "ivector").locations()
    enroll = read_enroll(closed_set / "enroll")
    utterances = [[u for u in enroll[speaker] if u in usable] for speaker in sorted(enroll)]
    for speaker, own in zip(sorted(enroll), utterances):
        if not own:
            raise DataError(f"{speaker}: none of its training utterances has features")
    return sorted(enroll), utterances, [u for own in utterances for u in own]


def _corpus(arguments: argparse.Namespace, system: str) -> Any:
    from recipes.steps.common import Corpus
    from recipes.steps.ubm import front_end

    ubm = arguments.exp / system / "ubm" / CLOSED_SET
    return Corpus(arguments.exp / "features", front_end(ubm))


def _extract(arguments: argparse.Namespace, utterances: list[str]) -> dict[str, np.ndarray]:
    """I-vectors (R,) by utterance."""
    from ivector.base.shards import map_shards
    from ivector.base.workers import make_shards
    from recipes.steps.ivectors import Extract
    from recipes.steps.total_variability import Accumulator

    system = arguments.exp / "ivector"
    options = _step_defaults(arguments)
    accumulate = Accumulator(_corpus(arguments, "ivector"), system / "ubm" / CLOSED_SET, *options)
    model = system / "tv" / CLOSED_SET / "final.npz"
    extract = Extract(accumulate, model, arguments.memory)
    shards = make_shards(utterances, UTTERANCES_AT_ONCE)
    parts = list(map_shards(extract, shards, nj=arguments.nj))
    return dict(zip(utterances, np.concatenate(parts)))


def _step_defaults(arguments: argparse.Namespace) -> tuple[int, float]:
    """Gaussians of a frame and the pruning threshold, as the extractor was trained with."""
    from recipes.steps import total_variability

    step = _step(total_variability, arguments, "ivector")
    return step.num_gselect, step.min_post


def _write_vectors(path: Path, vectors: dict[str, np.ndarray]) -> None:
    from ivector.base.files import save_model

    arrays = {"ids": np.array(list(vectors)), "vectors": np.stack(list(vectors.values()))}
    save_model(path, "vectors", arrays, {})


def _test(
    arguments: argparse.Namespace,
    system: str,
    folder: Path,
    upstream: dict[str, str],
    closed_set: Path,
) -> None:
    """Score all tests against all models, and write what that is worth."""
    from dnn.identification.identifier import Answers, measures, plot_confusion, write_predictions
    from ivector.data import read_trials
    from recipes.engine.stage import digest, stage

    options = {"relevance": arguments.relevance, "top_n": arguments.top_n}
    lists = {"protocol": digest(closed_set / "enroll", closed_set / "trials")}
    with stage(folder / "test", options, {**upstream, **lists}, force=arguments.force) as work:
        if work is None:
            return
        corpus = _corpus(arguments, system)
        truth = {trial.test: trial.enrol for trial in read_trials(closed_set / "trials")}
        tests = corpus.usable(sorted(truth), "test")
        speakers, models, _ = _enrolment(arguments, closed_set)
        score = _ivector_scores if system == "ivector" else _gmm_scores
        scores, seconds, cpu_seconds = score(arguments, models, tests)
        labels = np.array([speakers.index(truth[test]) for test in tests])
        answers = Answers(scores, seconds, labels, cpu_seconds)
        seconds, cpu_seconds = _training_seconds(folder)
        record = {
            **measures(answers, speakers),
            "parameters": _count(folder),
            "training_seconds": seconds,
            "training_cpu_seconds": cpu_seconds,
            "processes": arguments.nj,
        }
        write_text(work / "results.json", json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        title = f"{100 * answers.accuracy:.1f} % right of {len(labels)}"
        plot_confusion(work / "confusion.png", answers.confusion, speakers, title)
        names = [speakers[i] for i in scores.argmax(axis=1)]
        write_predictions(work / "predictions.csv", tests, names)


def _ivector_scores(
    arguments: argparse.Namespace, models: list[list[str]], tests: list[str]
) -> tuple[np.ndarray, float, float]:
    """Log-likelihood ratios (N, M); seconds and CPU seconds of the tests, from stored features."""
    from plda.formats.models import load_model
    from recipes.steps.ivectors import read_vectors
    from recipes.steps.scores import VectorScorer
    from recipes.steps.trials import Models

    backend = arguments.exp / "ivector" / "backend" / CLOSED_SET
    enrolled = read_vectors(backend / "ivectors.npz")
    transforms, plda = (load_model(backend / f"{name}.npz") for name in ("transforms", "plda"))
    begin, cpu_begin = time.perf_counter(), time.process_time()
    vectors = {**enrolled, **_extract(arguments, tests)}
    scorer = VectorScorer(vectors, transforms, plda, "book")
    scores = scorer.matrix(Models([str(i) for i in range(len(models))], models), tests).T
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return np.ascontiguousarray(scores), seconds, cpu_seconds


def _gmm_scores(
    arguments: argparse.Namespace, models: list[list[str]], tests: list[str]
) -> tuple[np.ndarray, float, float]:
    """Log-likelihood ratios a frame (N, M); seconds and CPU seconds of the tests."""
    from ivector.gmm.verifier import GMMVerifier
    from recipes.steps.gmm_ubm import GMMScorer
    from recipes.steps.trials import Models
    from recipes.steps.ubm import load_ubm

    ubm = load_ubm(arguments.exp / "gmm-ubm" / "ubm" / CLOSED_SET)
    verifier = GMMVerifier(ubm, relevance=arguments.relevance, top_n=arguments.top_n)
    corpus = _corpus(arguments, "gmm-ubm")
    scorer = GMMScorer(corpus, verifier, arguments.nj, memory=arguments.memory)
    wanted = Models([str(i) for i in range(len(models))], models)
    scorer.matrix(wanted, tests[:1])  # adapts the models, which are kept
    begin, cpu_begin = time.perf_counter(), time.process_time()
    scores = scorer.matrix(wanted, tests).T
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return np.ascontiguousarray(scores), seconds, cpu_seconds


def _count(folder: Path) -> int:
    """Numbers that were learnt: UBM, extractor and back-end; without the speakers' models."""
    from ivector.total_variability.model import TotalVariability
    from recipes.steps.ubm import load_ubm

    ubm = load_ubm(folder / "ubm" / CLOSED_SET)
    c, d = ubm.means_.shape
    if folder.name != "ivector":
        return c + 2 * c * d
    rank = TotalVariability.load(folder / "tv" / CLOSED_SET / "final.npz").rank
    symmetric = rank * (rank + 1) // 2
    return c + c * d + c * d * (d + 1) // 2 + c * d * rank + rank + 2 * symmetric


@contextlib.contextmanager
def _cpu_counted(work: Path) -> Iterator[None]:
    """Write the CPU time of a stage; that of worker processes is not in it."""
    begin = time.process_time()
    yield
    write_text(work / CPU_SECONDS, f"{time.process_time() - begin:.3f}\n")


def _training_seconds(folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of all training stages; features excepted."""
    from recipes.engine.stage import read_mark

    stages = [folder / name / CLOSED_SET for name in ("ubm", "tv", "backend")]
    marks = {stage: read_mark(stage) for stage in stages}
    seconds = sum(float(mark["seconds"]) for mark in marks.values() if mark)
    files = [stage / CPU_SECONDS for stage, mark in marks.items() if mark]
    return round(seconds, 3), round(sum(float(f.read_text("utf-8")) for f in files), 3)


if __name__ == "__main__":
    raise SystemExit(run(build_parser(), main))
