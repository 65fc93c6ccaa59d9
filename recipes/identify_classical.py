"""The classical systems on a closed set: ``python -m recipes.identify_classical``.

i-vector + PLDA, every model of all its speaker's training utterances together (the book's
likelihood ratio), and GMM-UBM, every model the UBM adapted to them by MAP. Both are trained on the
part to train on of `recipes.cut_speakers`, whose features stand in EXP/features
which this command computes, and asked for the speaker of every test utterance.

EXP/ivector and EXP/gmm-ubm hold the models, and ``test/results.json`` as `dnn.identify` writes it.

Dimension legend: N tests, M models, C components, D features, R dimensions of i-vectors.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ivector.base.cli import SEED, Parser, add_parallel_options, number, run, whole
from ivector.base.files import write_json, write_text
from recipes.commands import COMMANDS
from recipes.cut_speakers import CLOSED_SET
from recipes.engine.code import code_digest
from recipes.engine.marks import digest, read_mark, require, tell
from recipes.engine.run import Job, Part, Run, Task
from recipes.engine.settings import TABLE, Settings
from recipes.engine.stage import stage, why

SYSTEMS = ("ivector", "gmm-ubm")
UTTERANCES_AT_ONCE = 64
CPU_SECONDS = "cpu_seconds"


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.identify_classical",
        description=COMMANDS["identify-classical"].sentence,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that recipes.cut_speakers has made")
    add("--exp", type=Path, required=True, help="experiment folder")
    add("--mfcc-config", type=Path, default=TABLE.home / TABLE.options["mfcc_config"].default,
        help="MFCC options")  # fmt: skip
    add("--components", type=whole(1), default=32, help="of the i-vector system's UBM, full")
    add("--rank", type=whole(1), default=120, help="dimensions of the i-vectors")
    add("--plda-smoothing", type=number(0, 1), default=0.1, help="0 to 1")
    add("--gmm-components", type=whole(1), default=256, help="of the GMM-UBM's UBM, diagonal")
    add("--relevance", type=number(0), default=16.0, help="relevance factor of MAP")
    add("--top-n", type=whole(1), default=10, help="components scored in each frame")
    add("--force", action="store_true", help="run even if done already")
    add("--dry-run", action="store_true", help="say what would be run, and why")
    add("--seed", type=SEED, default=0, help="seed of everything random")
    add("--memory", type=whole(1), default=2048, help="MiB a process may take")
    add("--disk", type=whole(0), default=0, help="MiB that may be written; 0: what is free")
    add_parallel_options(parser)
    return parser


def tasks(arguments: argparse.Namespace) -> dict[str, Task]:
    """The closed set as a task of each system, with the options of ``run.sh`` that it has here."""
    common = SimpleNamespace(**TABLE.values({}))
    for name in ("data", "exp", "mfcc_config", "seed", "memory", "disk", "relevance", "top_n",
                 "rank", "plda_smoothing"):  # fmt: skip
        setattr(common, name, getattr(arguments, name))
    common.parametrisation = "classical"
    full, diagonal = SimpleNamespace(**vars(common)), SimpleNamespace(**vars(common))
    full.num_components = arguments.components
    diagonal.num_components, diagonal.covariance = arguments.gmm_components, "diagonal"
    diagonal.normalisation = "global_cmn"
    settings = Settings(common, dict(zip(SYSTEMS, (full, diagonal))), ())
    run = Run(settings, 0, arguments.force)
    part = Part(arguments.data, arguments.exp, arguments.force)
    return {name: Task(run, name, part, arguments.data / CLOSED_SET) for name in SYSTEMS}


def main(arguments: argparse.Namespace) -> None:
    """Compute features, train and test both systems; what is there already is left as it is."""
    from recipes.steps import features, total_variability, ubm

    mine = tasks(arguments)
    for job in features.jobs(mine["ivector"].run):
        _do(job, arguments)
    for system, task in mine.items():
        _do(ubm.job(task), arguments)
        if system == "ivector":
            _do(total_variability.job(task), arguments)
            _do(_backend_job(task, arguments), arguments)
        _do(_test_job(task, arguments), arguments)


def _do(job: Job, arguments: argparse.Namespace) -> None:
    """Do a job unless it is done, and note its CPU time; or say what would be done."""
    if arguments.dry_run:
        tell(job.target, why(job.target, job.options, job.upstream, job.force, job.code))
        return
    with stage(job.target, job.options, job.upstream, job.force, job.code) as work:
        if work is not None:
            with _cpu_counted(work):
                job.body(work, arguments.nj)


def _backend_job(task: Task, arguments: argparse.Namespace) -> Job:
    """The back-end, with the i-vectors of the training utterances."""
    from recipes.steps import backend

    def body(work: Path, nj: int) -> None:
        from recipes.experiment.vectors import write_vectors

        vectors = _extract(arguments, task, _enrolment(task)[2])
        write_vectors(work / "ivectors.npz", list(vectors), np.stack(list(vectors.values())))
        backend.train(task, work / "ivectors.npz", work, nj)

    values = task.values
    options = {"scoring": values.scoring, "plda_smoothing": values.plda_smoothing}
    extractor = require(task.folder("tv"), 3, on=[task.trained("ubm", "ubm")])
    upstream = {"features": task.features(), "total variability": extractor}
    return task.job("backend", "backend", options, upstream, body)


def _test_job(task: Task, arguments: argparse.Namespace) -> Job:
    """The answers to all tests."""
    options = {"relevance": arguments.relevance, "top_n": arguments.top_n}
    upstream = {"ubm": task.trained("ubm", "ubm"), "features": task.features(),
                "protocol": digest(task.fold / "enroll", task.fold / "trials")}  # fmt: skip
    if task.system == "ivector":
        upstream["backend"] = require(task.folder("backend"), 5)
    job = task.job("scores", "test", options, upstream, functools.partial(_test, task, arguments))
    code = code_digest("recipes.identify_classical")
    return dataclasses.replace(job, target=job.target.parent, code=code)


def _enrolment(task: Task) -> tuple[list[str], list[list[str]], list[str]]:
    """Speakers, the usable training utterances of each, and all of these."""
    from ivector.base.errors import DataError
    from ivector.data import read_enroll

    usable = _corpus(task).locations()
    enroll = read_enroll(task.fold / "enroll")
    utterances = [[u for u in enroll[speaker] if u in usable] for speaker in sorted(enroll)]
    for speaker, own in zip(sorted(enroll), utterances):
        if not own:
            raise DataError(f"{speaker}: none of its training utterances has features")
    return sorted(enroll), utterances, [u for own in utterances for u in own]


def _corpus(task: Task) -> Any:
    from recipes.experiment.frames import Corpus
    from recipes.steps.ubm import front_end

    return Corpus(task.run.features, front_end(task.folder("ubm")))


def _extract(
    arguments: argparse.Namespace, task: Task, utterances: list[str]
) -> dict[str, np.ndarray]:
    """I-vectors (R,) by utterance."""
    from ivector.base.parallel.shards import map_shards
    from ivector.base.parallel.workers import make_shards
    from recipes.steps.ivectors import Extract
    from recipes.steps.total_variability import Accumulator

    values = task.values
    accumulate = Accumulator(_corpus(task), task.folder("ubm"), values.num_gselect, values.min_post)
    extract = Extract(accumulate, task.folder("tv") / "final.npz", arguments.memory)
    shards = make_shards(utterances, UTTERANCES_AT_ONCE)
    parts = list(map_shards(extract, shards, nj=arguments.nj))
    return dict(zip(utterances, np.concatenate(parts)))


def _test(task: Task, arguments: argparse.Namespace, work: Path, nj: int) -> None:
    """Score all tests against all models, and write what that is worth."""
    from dnn.identification.identifier import Answers, measures, plot_confusion, write_predictions
    from ivector.data import read_trials

    truth = {trial.test: trial.enrol for trial in read_trials(task.fold / "trials")}
    tests = _corpus(task).usable(sorted(truth), "test")
    speakers, models, _ = _enrolment(task)
    score: Callable = _ivector_scores if task.system == "ivector" else _gmm_scores
    scores, seconds, cpu_seconds = score(arguments, task, models, tests)
    labels = np.array([speakers.index(truth[test]) for test in tests])
    answers = Answers(scores, seconds, labels, cpu_seconds)
    seconds, cpu_seconds = _training_seconds(task)
    record = {
        **measures(answers, speakers),
        "parameters": _count(task),
        "training_seconds": seconds,
        "training_cpu_seconds": cpu_seconds,
        "processes": nj,
    }
    write_json(work / "results.json", record, indent=1)
    title = f"{100 * answers.accuracy:.1f} % right of {len(labels)}"
    plot_confusion(work / "confusion.png", answers.confusion, speakers, title)
    names = [speakers[i] for i in scores.argmax(axis=1)]
    write_predictions(work / "predictions.csv", tests, names)


def _ivector_scores(
    arguments: argparse.Namespace, task: Task, models: list[list[str]], tests: list[str]
) -> tuple[np.ndarray, float, float]:
    """Log-likelihood ratios (N, M); seconds and CPU seconds of the tests, from stored features."""
    from recipes.experiment.protocol import Models
    from recipes.experiment.vectors import read_vectors
    from recipes.steps.scores import read_scorer

    backend = task.folder("backend")
    enrolled = read_vectors(backend / "ivectors.npz")
    scorer = read_scorer(enrolled, backend, "book")
    begin, cpu_begin = time.perf_counter(), time.process_time()
    scorer.vectors = {**enrolled, **_extract(arguments, task, tests)}
    scores = scorer.matrix(Models([str(i) for i in range(len(models))], models), tests).T
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return np.ascontiguousarray(scores), seconds, cpu_seconds


def _gmm_scores(
    arguments: argparse.Namespace, task: Task, models: list[list[str]], tests: list[str]
) -> tuple[np.ndarray, float, float]:
    """Log-likelihood ratios a frame (N, M); seconds and CPU seconds of the tests."""
    from ivector.gmm.verifier import GMMVerifier
    from recipes.experiment.protocol import Models
    from recipes.steps.gmm_ubm import GMMScorer
    from recipes.steps.ubm import load_ubm

    ubm = load_ubm(task.folder("ubm"))
    verifier = GMMVerifier(ubm, relevance=arguments.relevance, top_n=arguments.top_n)
    corpus = _corpus(task)
    scorer = GMMScorer(corpus, verifier, arguments.nj, memory=arguments.memory)
    wanted = Models([str(i) for i in range(len(models))], models)
    scorer.matrix(wanted, tests[:1])  # adapts the models, which are kept
    begin, cpu_begin = time.perf_counter(), time.process_time()
    scores = scorer.matrix(wanted, tests).T
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return np.ascontiguousarray(scores), seconds, cpu_seconds


def _count(task: Task) -> int:
    """Numbers that were learnt: UBM, extractor and back-end; without the speakers' models."""
    from ivector.total_variability.model import TotalVariability
    from recipes.steps.ubm import load_ubm

    c, d = load_ubm(task.folder("ubm")).means_.shape
    if task.system != "ivector":
        return c + 2 * c * d
    rank = TotalVariability.load(task.folder("tv") / "final.npz").rank
    symmetric = rank * (rank + 1) // 2
    return c + c * d + c * d * (d + 1) // 2 + c * d * rank + rank + 2 * symmetric


@contextlib.contextmanager
def _cpu_counted(work: Path) -> Iterator[None]:
    """Write the CPU time of a stage; that of worker processes is not in it."""
    begin = time.process_time()
    yield
    write_text(work / CPU_SECONDS, f"{time.process_time() - begin:.3f}\n")


def _training_seconds(task: Task) -> tuple[float, float]:
    """Seconds and CPU seconds of all stages of training, but for the features."""
    stages = [task.folder(name) for name in ("ubm", "tv", "backend")]
    marks = {stage: read_mark(stage) for stage in stages}
    seconds = sum(float(mark["seconds"]) for mark in marks.values() if mark)
    files = [stage / CPU_SECONDS for stage, mark in marks.items() if mark]
    return round(seconds, 3), round(sum(float(f.read_text("utf-8")) for f in files), 3)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
