"""Recordings on trial that are not like those of training: noticed, told, and doubted."""

import json
import shutil

import numpy as np
import pytest
from step_cases import SMALL, run_stages

from fusion.formats.files import read_scores
from ivector.formats.arks import load_array, read_scp
from recipes.steps.domain import _Measures, is_outside, read_domain

CORPUS = ("--prepare-options=--speakers 20 --sessions 4",)
OPTIONS = (*CORPUS, *SMALL, "--systems", "ivector gmm-ubm", "--dev-folds", "2", "--nj", "1")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """An experiment with speakers enough to know their domain."""
    folder = tmp_path_factory.mktemp("known")
    return run_stages(folder, (0, 1, 2, 3, 4, 5, 6, 9, 10), *OPTIONS)


@pytest.fixture
def moved(known, tmp_path, monkeypatch):
    """A copy in which the recordings on trial of one fold sound as through another telephone."""
    shutil.copytree(known, tmp_path / "x", symlinks=True, ignore=shutil.ignore_patterns("audio"))
    for made in ("domain", "fusion"):
        shutil.rmtree(tmp_path / "x/exp" / made)
    lines = (known / "data/fold0/trials").read_text().splitlines()
    tried, read = {line.split()[1] for line in lines}, _Measures.read

    def through_another(measures, utterances):
        shift = np.array([5.0 if utt in tried else 0.0 for utt in utterances])
        return read(measures, utterances) + shift[:, None] * (np.arange(5 * 20 + 2) < 24)

    monkeypatch.setattr(_Measures, "read", through_another)
    return tmp_path / "x"


def test_measures_stand_beside_the_features(known):
    lists = [read_scp(known / f"exp/features/{name}.scp") for name in ("feats", "measures")]
    assert lists[0].keys() == lists[1].keys()
    utt, place = next(iter(lists[1].items()))
    assert load_array(utt, place).shape == (5 * 20 + 2,)


def test_trials_of_the_same_domain_are_left_alone(known):
    for fold in ("fold0", "fold1"):
        found = read_domain(known / "exp/domain" / fold)
        assert not is_outside(found[""]) and found[""]["recordings"] > 20
        assert not (known / "exp/fusion/llr" / fold / "caution.json").exists()
    lines = (known / "exp/domain/fold0/recordings.tsv").read_text().splitlines()
    assert lines[0] == "recording\tdistance\tmeasure"
    assert len(lines) == 1 + found[""]["recordings"]
    assert "like those of training: distance 0." in (known / "exp/report/report.html").read_text()
    assert "drawn towards 0" not in (known / "exp/report/results.md").read_text()


def test_those_of_another_are_told_and_doubted(moved, known, capsys):
    run_stages(moved, (1, 9, 10), *OPTIONS)
    exp = moved / "exp"
    found = read_domain(exp / "domain/fold0")[""]
    assert is_outside(found) and found["groups"]["spectrum"] > 1
    doubt = json.loads((exp / "fusion/llr/fold0/caution.json").read_text())[""]
    assert doubt.keys() == {"ivector", "gmm-ubm", "fusion"}
    assert all(one["doubt"] >= 0.05 for one in doubt.values())
    before, after = (
        read_scores(folder / "exp/fusion/llr/fold0/fusion.scores").values
        for folder in (known, moved)
    )
    assert np.abs(after).max() < 3 < np.abs(before).max()
    np.testing.assert_array_equal(np.argsort(before), np.argsort(after))
    page, printed = (exp / "report/report.html").read_text(), capsys.readouterr().out
    for text in ((exp / "report/results.md").read_text(), page, printed):
        assert "the recordings on trial are not like those of training: " in text
        assert "llr are drawn towards 0: those of fusion" in text


def test_calibration_can_be_trusted_all_the_same(moved, known):
    run_stages(moved, (1, 9), *OPTIONS, "--trust-calibration")
    one, other = (
        (folder / "exp/fusion/llr/fold0/fusion.scores").read_bytes() for folder in (known, moved)
    )
    assert one == other


def test_nothing_is_adapted_where_trials_are_like_training(known, narrow, tmp_path):
    """Whatever the folder sounds like."""
    shutil.copytree(known, tmp_path / "x", symlinks=True, ignore=shutil.ignore_patterns("audio"))
    run_stages(tmp_path / "x", (1, 4, 5), *OPTIONS, "--adapt", str(narrow))
    for fold in ("fold0", "fold1"):
        path = tmp_path / "x/exp/ivector/adapted" / fold / "adaptation.json"
        found = json.loads(path.read_text())
        assert found["centring_gain_per_dimension"] > found["threshold"]
        assert found["trials_are_like_training"] and not found["adapts"] and "means" not in found
