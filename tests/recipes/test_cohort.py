"""Scores normalised by recordings without labels, of all systems and every norm."""

import shutil

import numpy as np
import pytest
from step_cases import CORPUS, SMALL, call, places, run_stages

from fusion.formats.files import read_scores
from ivector.base.errors import DataError, UsageError
from ivector.data import read_enroll
from plda.normalisation import NORMS as KINDS
from recipes.engine.settings import read
from recipes.experiment.cohort import read_others
from recipes.experiment.vectors import read_vectors
from recipes.steps.scores import read_scorer
from recipes.systems import NORMS, SYSTEMS

STAGES = (1, 4, 6)
OPTIONS = (*CORPUS, *SMALL, "--dev-folds", "2", "--nj", "1")


@pytest.fixture(scope="session")
def normalised(finished, others, tmp_path_factory):
    """The experiment with every norm of the GMM-UBM and s-norm of the i-vectors, by the cohort."""
    folder = tmp_path_factory.mktemp("normalised") / "x"
    shutil.copytree(finished, folder, symlinks=True, ignore=shutil.ignore_patterns("audio"))
    systems = " ".join(["ivector", *(f"gmm-ubm-{kind}" for kind in NORMS)])
    more = ("--systems", systems, "--score-norm", "s", "--cohort", str(others), "--cohort-top", "6")
    return run_stages(folder, STAGES, *OPTIONS, *more)


def test_vectors_are_normalised_by_the_cohort_alone(normalised):
    exp = normalised / "exp/ivector"
    vectors, cohort = (
        read_vectors(exp / f"{k}/fold0/ivectors.npz") for k in ("ivectors", "cohort")
    )
    assert len(cohort) == 20 and all(utt.startswith("cohort:") for utt in cohort)
    given = read_scores(exp / "scores/fold0/scores")
    enroll = read_enroll(normalised / "data/fold0/enroll")
    scorer = read_scorer({**vectors, **cohort}, exp / "backend/fold0", "book")
    from recipes.experiment.protocol import Models

    models = Models(given.enrol_ids, [enroll[key] for key in given.enrol_ids])
    impostors = Models(list(cohort), [[utt] for utt in cohort])
    raw = scorer.matrix(models, given.test_ids)
    of_models = scorer.matrix(models, list(cohort))
    of_tests = scorer.matrix(impostors, given.test_ids)
    wanted = (
        (raw - of_models.mean(1, keepdims=True)) / of_models.std(1, keepdims=True)
        + (raw - of_tests.mean(0)) / of_tests.std(0)
    ) / 2  # fmt: skip
    np.testing.assert_allclose(given.values, wanted[given.enrol, given.test], rtol=1e-5)


def test_every_norm_of_the_gmm_ubm_is_another_and_so_in_development(normalised, finished):
    plain = read_scores(finished / "exp/gmm-ubm/scores/fold0/scores")
    found = [plain.values]
    for kind in NORMS:
        exp = normalised / "exp"
        scores = read_scores(exp / f"gmm-ubm-{kind}/scores/fold0/scores")
        assert scores.test_ids == plain.test_ids
        found.append(scores.values)
        assert (exp / f"development/gmm-ubm-{kind}/scores/fold0-0/scores").exists()
    assert all(np.abs(one - two).max() > 1e-3 for i, one in enumerate(found) for two in found[:i])


def test_kinds_are_those_of_the_library():
    assert tuple(KINDS) == NORMS
    assert all(read([]).of[f"gmm-ubm-{kind}"].score_norm == kind for kind in NORMS)
    assert all(SYSTEMS[f"gmm-ubm-{kind}"].trunk == "gmm-ubm" for kind in NORMS)


def test_a_cohort_that_is_no_larger_than_the_top_is_said(copy, others, caplog):
    words = ("--systems", "gmm-ubm-as", "--cohort", str(others), "--cohort-top", "20")
    run_stages(copy, (1, 6), *OPTIONS, *words)
    assert "as-norm takes the 20 most similar of a cohort, which holds 20: all" in caplog.text


def test_a_cohort_of_tested_recordings_is_refused(copy):
    words = (*places(copy), *OPTIONS, "--score-norm", "s", "--cohort", str(copy / "data/wav"))
    with pytest.raises(DataError, match=r"\d+ recordings of --cohort are enrolled or tested"):
        call("1", *words)


def test_a_cohort_that_nothing_takes_is_refused(others):
    with pytest.raises(UsageError, match="--cohort normalises scores, but none of ivector"):
        read(["--cohort", str(others)])
    with pytest.raises(UsageError, match="--cohort takes the path of a folder"):
        read(["--cohort", str(others / "nowhere"), "--score-norm", "s"])


def test_a_folder_of_recordings_is_read_at_any_depth(tmp_path):
    for name in ("a.wav", "b/a.wav", "b/c/d.flac", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ids = [row[0] for row in read_others(tmp_path, "cohort")]
    assert sorted(ids) == ["cohort:a.wav", "cohort:b-a.wav", "cohort:b-c-d.flac"]
    (tmp_path / "b-a.wav").touch()
    with pytest.raises(DataError, match="rename them"):
        read_others(tmp_path, "cohort")
