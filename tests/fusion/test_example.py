"""``python -m fusion.example``: scores to try the commands on, the same every time."""

import numpy as np
import pytest

from fusion import OperatingPoints, align, read_columns, read_scores, read_trials, trial_columns
from fusion.example import main, make_parser, simulate
from fusion.formats.speakers import mapped_speakers, read_map
from ivector.base.cli import run

FILES = {"cosine.scores", "plda.scores", "gmm.scores", "trials", "utt2spk", "columns.csv"}


def write(folder, *words):
    try:
        return run(make_parser(), main, [str(folder), *map(str, words)])
    except SystemExit as error:
        return error.code


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    assert write(folder) == 0
    return folder


def test_same_bytes_every_time_others_with_another_seed(example, tmp_path, capsys):
    assert write(tmp_path / "again") == 0
    assert write(tmp_path / "other", "--seed", 1) == 0
    for part in ("dev", "eval"):
        assert {path.name for path in (example / part).iterdir()} == FILES
        for name in FILES:
            first = (example / part / name).read_bytes()
            assert first == (tmp_path / "again" / part / name).read_bytes()
            if name.endswith((".scores", ".csv")):
                assert first != (tmp_path / "other" / part / name).read_bytes()


def test_output_tells_what_was_written(tmp_path, capsys):
    assert write(tmp_path, "--dev-speakers", 10, "--eval-speakers", 12) == 0
    out = capsys.readouterr().out
    # 10 speakers of 4 recordings: 2 genders of 20 · 19 / 2 pairs, 10 · 4 · 3 / 2 of them targets.
    assert "dev: 10 speakers, 40 recordings, 380 trials (60 targets)" in out
    assert "eval: 12 speakers, 48 recordings, 552 trials (72 targets)" in out


@pytest.mark.parametrize("words", [("--dev-speakers", 11), ("--eval-speakers", 502)])
def test_impossible_numbers_of_speakers_are_wrong_usage(tmp_path, capsys, words):
    assert write(tmp_path / "out", *words) == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert write(tmp_path / "out") == 1
    assert "out" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["dev", "eval"])
def test_files_agree_with_each_other(example, part):
    folder = example / part
    trials = read_trials(folder / "trials")
    told = mapped_speakers(trials, read_map(folder / "utt2spk"))  # refuses contradictions
    assert told.n_speakers == 60
    columns = trial_columns(read_columns(folder / "columns.csv"), trials)
    assert (columns["enrol_gender"] == columns["test_gender"]).all()
    for name in ("cosine", "plda"):
        align(read_scores(folder / f"{name}.scores"), trials)  # refuses missing ones
    short = np.minimum(columns["enrol_duration"], columns["test_duration"]) < 3
    assert len(read_scores(folder / "gmm.scores")) == np.count_nonzero(~short) < len(trials)


def test_no_speaker_of_one_part_is_in_the_other(example):
    dev, test = (set(read_map(example / part / "utt2spk").values()) for part in ("dev", "eval"))
    assert not dev & test


def test_systems_are_of_use_and_not_calibrated():
    part = simulate(60, 501)
    for name, low, high in (("cosine", 0.03, 0.1), ("plda", 0.03, 0.1), ("gmm", 0.05, 0.15)):
        scores = part.scores[name]
        there = ~np.isnan(scores)
        points = OperatingPoints(scores[part.target & there], scores[~part.target & there])
        assert low < points.eer() < high
        assert points.cllr() > 2 * points.min_cllr()


def test_two_covariance_scores_are_log_likelihood_ratios_of_their_model():
    from fusion.example import _plda

    rng = np.random.default_rng(3)
    within, y = 0.7, rng.standard_normal((4, 5))
    enrol, test = np.triu_indices(4, 1)

    def log_density(x, covariance):
        _, logdet = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (logdet + x @ np.linalg.solve(covariance, x))

    alone = (1 + within) * np.eye(1)
    together = np.array([[1 + within, 1], [1, 1 + within]])
    expected = [
        sum(
            log_density(np.array([y[a, d], y[b, d]]), together)
            - log_density(y[a, d : d + 1], alone)
            - log_density(y[b, d : d + 1], alone)
            for d in range(5)
        )
        for a, b in zip(enrol, test)
    ]
    np.testing.assert_allclose(_plda(y, enrol, test, within), expected, rtol=1e-12)
