"""What one adds for a new back-end, system or score norm: entries of tables, and nothing else.

Each test adds in its own process what a change of the product would add, and runs a small
experiment with it; the change is told beside it.
"""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from step_cases import CORPUS, SMALL, run_stage, run_stages

from fusion.formats.files import align, read_scores, read_trials
from ivector.base.foreign.schema import Field
from plda.formats.models import load_model
from plda.models import BACKENDS, Entry
from plda.normalisation import NORMS, Norm
from plda.scoring.pairs import PairScorer
from recipes import systems
from recipes.engine import driver
from recipes.engine.settings import read
from recipes.experiment.frames import Corpus
from recipes.experiment.protocol import fold_utterances, protocol_digest
from recipes.experiment.vectors import read_vectors, write_vectors
from recipes.steps.ubm import front_end
from recipes.systems import System

OPTIONS = (*CORPUS, *SMALL, "--nj", "1", "--dev-folds", "0")


def scores(folder: Path, system: str) -> np.ndarray:
    """Scores of both folds (n_trials,), in the order of their trials."""
    homes = [folder / f"exp/{system}/scores/fold{number}" for number in (0, 1)]
    trials = read_trials([home / "trials" for home in homes])
    return align(read_scores([home / "scores" for home in homes]), trials).values


def kinds(folder: Path, system: str) -> set[str]:
    return {path.name for path in (folder / "exp" / system).iterdir()}


# A back-end. The change: an entry of BACKENDS in plda/models/__init__.py, and the model's module in
# plda/models: two files.


class Distance(BaseEstimator):
    """Minus the squared distance, in units of the training vectors' deviations."""

    def fit(self, X, y=None):
        self.scale_ = X.std(axis=0)
        return self

    def scorer(self, enrol, test, n_enrol=1):
        left, right, one = enrol / self.scale_, test / self.scale_, np.ones
        return PairScorer(
            np.column_stack([2 * left, -np.square(left).sum(axis=1), one(len(left))]),
            np.column_stack([right, one(len(right)), -np.square(right).sum(axis=1)]),
        )


def test_a_back_end(copy, monkeypatch):
    entry = Entry(__name__, "Distance", "the distance", {"scale_": Field(("D",), positive=True)})
    monkeypatch.setitem(BACKENDS, "distance", entry)
    before = scores(copy, "ivector")
    words = (*OPTIONS, "--system", "ivector", "--scoring", "distance")
    run_stages(copy, (5, 6, 10), *words)
    found = scores(copy, "ivector")
    assert len(found) == len(before) and np.isfinite(found).all() and (found <= 0).all()
    assert abs(np.corrcoef(found, before)[0, 1]) < 0.999
    # By hand, of the first trial.
    home = copy / "exp/ivector/backend/fold0"
    line = (copy / "exp/ivector/scores/fold0/scores").read_text().splitlines()[0].split()
    vectors = read_vectors(copy / "exp/ivector/ivectors/fold0/ivectors.npz")
    enroll = dict(
        row.split(maxsplit=1) for row in (copy / "data/fold0/enroll").read_text().splitlines()
    )
    scale = load_model(home / "distance.npz").scale_
    pair = np.stack([vectors[enroll[line[0]]], vectors[line[1]]])
    one, other = load_model(home / "transforms.npz").transform(pair) / scale
    assert float(line[2]) == pytest.approx(-np.square(one - other).sum(), abs=1e-3)
    # It is an option of embeddings, too.
    assert read(["--xvector-scoring", "distance"]).of["xvector"].scoring == "distance"


# A system of steps that there are. The change: an entry of SYSTEMS in recipes/systems.py: one file.


def test_a_system_of_known_steps(copy, monkeypatch, capsys):
    """I-vectors of a diagonal UBM, compared by the cosine, with s-norm."""
    entry = System(
        "i-vectors of a diagonal UBM", systems.SYSTEMS["ivector"].steps,
        fixed={"covariance": "diagonal", "scoring": "cosine", "score_norm": "s"},
    )  # fmt: skip
    monkeypatch.setitem(systems.SYSTEMS, "light", entry)
    words = (*OPTIONS, "--systems", "light cosine", "--dev-folds", "2")
    shutil.rmtree(copy / "exp/fusion")
    run_stages(copy, (2, 3, 4, 5, 6, 9, 10), *words)
    assert kinds(copy, "light") == {"ubm", "tv", "ivectors", "backend", "scores"}
    assert np.isfinite(scores(copy, "light")).all()
    printed = capsys.readouterr().out
    assert "| light  " in printed and "| fusion " in printed
    assert (copy / "exp/fusion/llr/fold0/light.scores").is_file()
    # Those that were there are left as they are: a new entry changes nobody's code.
    assert run_stage(copy, "plan", *words, "--systems", "ivector cosine gmm-ubm") == 0
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("run")] == [
        line for line in told if "/exp/report" in line or "/fusion/llr/" in line
    ]


def test_a_system_on_the_models_of_another(copy, monkeypatch):
    entry = System("i-vectors, z-norm", {"backend": 5, "scores": 6}, trunk="ivector",
                   fixed={"score_norm": "z"})  # fmt: skip
    monkeypatch.setitem(systems.SYSTEMS, "ivector-z", entry)
    run_stages(copy, (2, 3, 4, 5, 6), *OPTIONS, "--systems", "ivector ivector-z")
    assert kinds(copy, "ivector-z") == {"backend", "scores"}
    assert not np.allclose(scores(copy, "ivector-z"), scores(copy, "ivector"))


# A system with a step of its own. The change: entries of SYSTEMS and EXTRACTORS and the step's name
# in STAGES, all in recipes/systems.py; and recipes/steps/means.py: two files.


def means_step() -> types.ModuleType:
    """A step that takes the mean and the deviation of an utterance's features for its vector."""
    import functools

    def extract(task, work: Path, nj: int) -> None:
        corpus = Corpus(task.run.features, front_end(task.folder("ubm")))
        utterances = corpus.usable(fold_utterances(task.fold), "all")
        frames = (corpus.frames(utt) for utt in utterances)
        rows = [np.concatenate([part.mean(axis=0), part.std(axis=0)]) for part in frames]
        write_vectors(work / "ivectors.npz", utterances, np.stack(rows).astype(np.float64))

    def job(task):
        upstream = {"features": task.features(), "ubm": task.trained("ubm", "ubm")}
        upstream["protocol"] = protocol_digest(task.fold)
        return task.job("means", "ivectors", {}, upstream, functools.partial(extract, task))

    module = types.ModuleType("recipes.steps.means")
    vars(module)["jobs"] = lambda run: map(job, run.tasks("means"))
    return module


def test_a_system_with_a_step_of_its_own(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "recipes.steps.means", means_step())
    steps = {"ubm": 2, "means": 4, "backend": 5, "scores": 6}
    entry = System("means of features", steps, fixed={"covariance": "diagonal"})
    monkeypatch.setitem(systems.SYSTEMS, "means", entry)
    monkeypatch.setitem(systems.EXTRACTORS, "means", (("ubm", "ubm"),))
    with_step = list(systems.STAGES)
    old = with_step[4]
    with_step[4] = systems.Stage(old.name, (("ivectors", "means"),), old.share)
    monkeypatch.setattr(driver, "STAGES", tuple(with_step))
    words = (*OPTIONS, "--systems", "means ivector", "--dev-folds", "2")
    run_stages(copy, (2, 3, 4, 5, 6, 9, 10), *words)
    assert kinds(copy, "means") == {"ubm", "ivectors", "backend", "scores"}
    assert np.isfinite(scores(copy, "means")).all()
    assert (copy / "exp/fusion/llr/fold1/means.scores").is_file()
    # Vectors of another UBM are refused by those behind.
    run_stages(copy, (2,), *words, "--num-iters-diag", "1")
    assert run_stage(copy, 5, *words) == 1


# A score norm. The change: an entry of NORMS in plda/normalisation.py with what it does: one file.


def test_a_score_norm(copy, monkeypatch):
    """Scores without the means of their cohorts' scores; deviations are as they are."""
    entry = Norm(lambda raw, enrol, test: raw - (enrol[0] + test[0]) / 2)
    monkeypatch.setitem(NORMS, "centred", entry)
    raw = {system: scores(copy, system) for system in ("ivector", "gmm-ubm")}
    words = (*OPTIONS, "--systems", "ivector gmm-ubm", "--score-norm", "centred")
    run_stages(copy, (5, 6, 10), *words)
    for system, before in raw.items():
        # In both folds every one of four speakers was tried against the same twelve tests: what was
        # taken away is of the speaker and of the test, each alone.
        taken = (before - scores(copy, system)).reshape(2, 4, 12)
        assert np.ptp(taken) > 0.1
        means = [taken.mean(axis=axes, keepdims=True) for axes in (1, 2, (1, 2))]
        np.testing.assert_allclose(taken - means[0] - means[1] + means[2], 0, atol=1e-4)
    assert read(["--xvector-norm", "centred"]).of["xvector"].score_norm == "centred"


@pytest.mark.parametrize(
    ("option", "name"),
    [("--scoring", "distance"), ("--systems", "light"), ("--score-norm", "centred")],
)
def test_what_is_not_there_is_refused(copy, capsys, option, name):
    """So that the tests above say something."""
    assert run_stage(copy, 6, *OPTIONS, option, name) == 2
    assert f"{option} takes" in capsys.readouterr().err
