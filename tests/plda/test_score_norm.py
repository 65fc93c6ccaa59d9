"""Score normalisation: each kind equals its formula; matrices and trial lists agree."""

import numpy as np
import pytest
from sklearn.base import clone

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from plda import ScoreNorm
from plda.normalisation import NORMS

N_ENROL, N_TEST, N_COHORT, TOP = 5, 7, 40, 10


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    offsets = 3 * rng.normal(size=(2, max(N_ENROL, N_TEST), 1))
    return {
        "scores": rng.normal(size=(N_ENROL, N_TEST)),
        "enrol": rng.normal(size=(N_ENROL, N_COHORT)) + offsets[0, :N_ENROL],
        "test": rng.normal(size=(N_TEST, N_COHORT)) + offsets[1, :N_TEST],
        "cohort": rng.normal(size=(N_COHORT, N_COHORT)),
    }


def one_score(kind, s, enrol, test, cohort):
    """The formulas of the papers for one trial; the readable reference."""

    def normalise(score, by):
        return (score - by.mean()) / by.std()

    top_enrol, top_test = np.argsort(enrol)[-TOP:], np.argsort(test)[-TOP:]
    if kind == "z":
        return normalise(s, enrol)
    if kind == "t":
        return normalise(s, test)
    if kind == "zt":
        z_test = np.array(
            [normalise(score, row[~np.isnan(row)]) for score, row in zip(test, cohort)]
        )
        return normalise(normalise(s, enrol), z_test)
    if kind == "s":
        return (normalise(s, enrol) + normalise(s, test)) / 2
    if kind == "as":
        return (normalise(s, enrol[top_enrol]) + normalise(s, test[top_test])) / 2
    return (normalise(s, enrol[top_test]) + normalise(s, test[top_enrol])) / 2


def fitted(kind, data, dtype="f8"):
    norm = ScoreNorm(kind, top_n=TOP)
    return norm.fit(data["enrol"].astype(dtype), data["test"].astype(dtype), data["cohort"])


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_equals_the_formula_in_blocks_of_any_size(kind, block, data, monkeypatch):
    monkeypatch.setattr("plda.normalisation._BLOCK_NUMBERS", block)
    expected = [
        [one_score(kind, s, e, t, data["cohort"]) for s, t in zip(row, data["test"])]
        for row, e in zip(data["scores"], data["enrol"])
    ]
    norm = fitted(kind, data)
    np.testing.assert_allclose(norm.transform(data["scores"]), expected, atol=1e-10)
    rng = np.random.default_rng(1)
    i, j = rng.integers(0, N_ENROL, 50), rng.integers(0, N_TEST, 50)
    listed = norm.transform_trials(data["scores"][i, j], i, j)
    np.testing.assert_allclose(listed, np.array(expected)[i, j], atol=1e-10)


@pytest.mark.parametrize("kind", NORMS)
def test_single_precision(kind, data):
    double = fitted(kind, data).transform(data["scores"])
    single = fitted(kind, data, "f4").transform(data["scores"].astype("f4"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=1e-4)


@pytest.mark.parametrize("kind", NORMS)
def test_undoes_shift_and_scale_of_all_scores(kind, data):
    """Scores a·s + b everywhere normalise to the same; for z and t per row or column alone."""
    before = fitted(kind, data).transform(data["scores"])
    scaled = {key: 3 * value - 7 for key, value in data.items()}
    np.testing.assert_allclose(fitted(kind, scaled).transform(scaled["scores"]), before, atol=1e-9)


def test_impostors_get_zero_mean_and_unit_variance(data):
    rng = np.random.default_rng(2)
    shift, scale = rng.normal(size=(N_ENROL, 1)), rng.uniform(1, 5, (N_ENROL, 1))
    cohort = shift + scale * rng.normal(size=(N_ENROL, 20_000))
    scores = shift + scale * rng.normal(size=(N_ENROL, 20_000))
    out = ScoreNorm("z").fit(cohort).transform(scores)
    np.testing.assert_allclose(out.mean(axis=1), 0, atol=0.05)
    np.testing.assert_allclose(out.std(axis=1), 1, atol=0.05)


def test_zt_leaves_out_a_speaker_against_itself(data):
    cohort = data["cohort"].copy()
    np.fill_diagonal(cohort, np.nan)
    norm = ScoreNorm("zt").fit(data["enrol"], data["test"], cohort)
    expected = one_score("zt", data["scores"][0, 0], data["enrol"][0], data["test"][0], cohort)
    assert norm.transform(data["scores"])[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["as", "as2"])
def test_cohort_smaller_than_top_n_is_plain_s_norm(kind, data):
    plain = fitted("s", data).transform(data["scores"])
    with pytest.warns(DegenerateDataWarning, match="cohort of 40, fewer than top_n=200"):
        adaptive = ScoreNorm(kind).fit(data["enrol"], data["test"])
    np.testing.assert_allclose(adaptive.transform(data["scores"]), plain, atol=1e-10)


@pytest.mark.parametrize("kind", NORMS)
def test_cohort_scores_without_spread_are_floored(kind, data):
    flat = {**data, "enrol": data["enrol"].copy(), "test": data["test"].copy()}
    flat["enrol"][1] = 2.0
    flat["test"][2] = 2.0
    if kind == "zt":
        flat["test"] = data["test"]
    with pytest.warns(DegenerateDataWarning, match="1 of . (enrolments|tests)"):
        norm = fitted(kind, flat)
    assert np.isfinite(norm.transform(data["scores"])).all()
    with pytest.raises(DataError, match="different speakers"):
        fitted(kind, {**data, "enrol": np.ones((3, 40)), "test": np.ones((3, 40))})


def test_bad_input_is_named(data):
    enrol, test, scores = data["enrol"], data["test"], data["scores"]
    for norm, cohorts, error, text in (
        (ScoreNorm("x"), (enrol, test), UsageError, "kind"),
        (ScoreNorm(top_n=1), (enrol, test), UsageError, "top_n"),
        (ScoreNorm("s"), (enrol, None), DataError, "needs test_cohort"),
        (ScoreNorm("z"), (None, test), DataError, "needs enrol_cohort"),
        (ScoreNorm("zt"), (enrol, test), DataError, "needs cohort_cohort"),
        (ScoreNorm("zt"), (enrol, test, enrol), DataError, "cohort_cohort has shape"),
        (ScoreNorm("zt"), (enrol, test, data["cohort"] * np.nan), DataError, "two finite scores"),
        (ScoreNorm("z"), (enrol[:, :1],), DataError, "two or more"),
        (ScoreNorm("z"), (enrol * np.nan,), DataError, "NaN"),
        (ScoreNorm("as2", 5), (enrol, test[:, :30]), DataError, "same cohort"),
    ):
        with pytest.raises(error, match=text):
            norm.fit(*cohorts)
    norm = ScoreNorm("s").fit(enrol, test)
    with pytest.raises(DataError, match="5 enrolments and 7 tests"):
        norm.transform(scores.T)
    for i, j, text in (([0, 5], [0, 0], "enrolment row"), ([0], [0], "2 integers")):
        with pytest.raises(DataError, match=text):
            norm.transform_trials(scores[0, :2], i, j)


def test_one_row_of_cohort_scores_is_one_enrolment(data):
    norm = ScoreNorm("z").fit(data["enrol"][:1])
    assert norm.transform(data["scores"][:1]).shape == (1, N_TEST)
    with pytest.raises(DataError, match="1 enrolments"):
        norm.transform(data["scores"])


def test_clones():
    assert clone(ScoreNorm("zt", 50)).get_params() == {"kind": "zt", "top_n": 50}


@pytest.mark.parametrize("kind", ["z", "t", "zt", "s", "as"])
def test_blocks_of_rows_give_the_same_numbers(kind, data):
    def rows(scores):
        return (scores[i : i + 7] for i in range(0, len(scores), 7))

    whole = ScoreNorm(kind, 10).fit(data["enrol"], data["test"], data["cohort"])
    parts = ScoreNorm(kind, 10).fit(rows(data["enrol"]), rows(data["test"]), data["cohort"])
    for name in ("enrol_mean_", "enrol_std_", "test_mean_", "test_std_"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_blocks_that_cannot_be_are_named(data):
    blocks = iter([data["enrol"][:2], data["enrol"][2:, :5]])
    with pytest.raises(DataError, match="blocks of 40 and of 5 columns"):
        ScoreNorm("z").fit(blocks)
    with pytest.raises(UsageError, match="whole matrices"):
        ScoreNorm("as2", 5).fit(iter([data["enrol"]]), data["test"])
