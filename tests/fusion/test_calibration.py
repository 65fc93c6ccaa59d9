"""Calibration: the true llr is found again; models keep; words are right."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.isotonic import IsotonicRegression

from fusion import Calibration, cllr, load_model, save_model
from fusion.calibration.one_system import METHODS
from fusion.calibration.saving import read_model
from fusion.calibration.wording import describe_llr
from fusion.metrics.points import OperatingPoint
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError

N_TRAIN, N_TEST = 20_000, 200_000


def draw(n, seed, share=0.1):
    rng = np.random.default_rng(seed)
    return rng, rng.random(n) < share


def shared_variance(n, seed):
    """Scores of two Gaussians of one width, through an affine function."""
    rng, y = draw(n, seed)
    s = np.where(y, 2.0, -1.0) + 1.5 * rng.standard_normal(n)
    llr = norm.logpdf(s, 2.0, 1.5) - norm.logpdf(s, -1.0, 1.5)
    return 0.1 * s + 7, y, None, llr


def unequal_variance(n, seed):
    rng, y = draw(n, seed)
    s = np.where(y, 4.0, 0.0) + np.where(y, 2.0, 1.0) * rng.standard_normal(n)
    return s, y, None, norm.logpdf(s, 4.0, 2.0) - norm.logpdf(s, 0.0, 1.0)


def with_quality(n, seed):
    """The llr is a score whose offset and slope depend on a measure, as on a duration."""
    rng, y = draw(n, seed)
    duration = rng.uniform(1, 30, n)
    log_duration = np.log(duration)
    d = 1 + log_duration  # Distance of the classes' true llr over their spread.
    llr = np.where(y, 1, -1) * d**2 / 2 + d * rng.standard_normal(n)
    # A system that returns the llr shrunk and shifted by what it knows of the duration.
    slope = 1 / (0.5 + 0.3 * log_duration)
    return slope * (llr - 0.7 * log_duration), y, log_duration, llr


def ratio_to_ideal(model, world):
    """Cllr of a calibration trained on some trials, on others, over that of the true llr."""
    scores, y, quality, _ = world(N_TRAIN, 1)
    model.fit(scores, y, quality)
    scores, y, quality, true = world(N_TEST, 2)
    llr = model.transform(scores, quality)
    return cllr(llr[y], llr[~y]) / cllr(true[y], true[~y])


@pytest.mark.parametrize(
    "method, world, options",
    [
        ("logistic", shared_variance, {}),
        ("logistic", shared_variance, {"prior": 0.05}),
        ("gaussian", shared_variance, {}),
        ("isotonic", shared_variance, {}),
        ("gaussian", unequal_variance, {}),
        ("logistic", with_quality, {"interactions": True}),
    ],
)
def test_finds_the_true_llr(method, world, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        ratio = ratio_to_ideal(Calibration(method, **options), world)
    assert 0.99 < ratio < 1.01


def test_quality_measures_are_needed_where_they_matter():
    scores, y, quality, _ = with_quality(N_TRAIN, 1)
    plain = Calibration().fit_transform(scores, y)
    offset = Calibration().fit_transform(scores, y, quality)
    both = Calibration(interactions=True).fit_transform(scores, y, quality)
    cost = [cllr(llr[y], llr[~y]) for llr in (plain, offset, both)]
    assert cost[0] > 1.05 * cost[2] and cost[0] > cost[1] > cost[2]


def test_parameters_are_the_true_ones():
    scores, y, *_ = shared_variance(N_TRAIN, 1)
    slope = 3 / 1.5**2 / 0.1
    found = Calibration().fit(scores, y).parameters()
    assert found["score"] == pytest.approx(slope, rel=0.05)
    assert found["offset"] == pytest.approx(-0.5 * 3 / 1.5**2 - 7 * slope, rel=0.05)
    gaussian = Calibration("gaussian").fit(scores, y)
    assert gaussian.variances_[0] == gaussian.variances_[1] == pytest.approx(0.0225, rel=0.03)
    scores, y, *_ = unequal_variance(N_TRAIN, 1)
    with pytest.warns(DegenerateDataWarning, match="differ in width"):
        found = Calibration("gaussian").fit(scores, y).parameters()
    assert found["variance of targets"] == pytest.approx(np.var(scores[y]))
    assert found["mean of nontargets"] == pytest.approx(np.mean(scores[~y]))


def test_isotonic_equals_scikit_learn_with_added_trials():
    rng, y = draw(500, 0, 0.4)
    scores = np.round(y + rng.standard_normal(500), 1)
    model = Calibration("isotonic").fit(scores, y)
    ends = [scores.min() - 1] * 2 + [scores.max() + 1] * 2
    x, t = np.append(scores, ends), np.append(y, [True, False] * 2)
    p = IsotonicRegression().fit(x, t).predict(scores)
    odds = np.log(p / (1 - p)) - np.log(t.sum() / (~t).sum())
    np.testing.assert_allclose(model.transform(scores), odds, rtol=1e-9, atol=1e-9)
    far = model.transform([-1e9, 1e9])
    assert np.isfinite(far).all() and far[0] == odds.min() and far[1] == odds.max()
    between = model.transform(np.linspace(-3, 4, 999))
    assert (np.diff(between) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=15))
def test_any_small_data_give_finite_llr(pairs):
    scores, y = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    for method in METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = Calibration(method).fit(scores, y)
            except DataError:
                same_within = not (np.ptp(scores[y]) if y.any() else 0) and not (
                    np.ptp(scores[~y]) if not y.all() else 0
                )
                assert (
                    y.all()
                    or not y.any()
                    or not np.ptp(scores)
                    or (method == "gaussian" and same_within)
                    or (method == "bigaussian" and scores[y].mean() <= scores[~y].mean() + 1e-9)
                )
                continue
        assert np.isfinite(model.transform(np.linspace(-9, 9, 50))).all()


# --- thresholds --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("world", [shared_variance, unequal_variance])
def test_threshold_is_the_score_of_the_bayes_llr(method, world):
    scores, y, *_ = world(N_TRAIN, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        model = Calibration(method).fit(scores, y)
    for point in (OperatingPoint(0.5), OperatingPoint(0.05), OperatingPoint(0.05, 10, 1)):
        at = model.threshold(point)
        assert model.transform([at])[0] == pytest.approx(point.threshold, abs=1e-6)
        assert model.transform([at + 1e-3])[0] >= point.threshold - 1e-6


def test_threshold_depends_on_quality():
    scores, y, quality, _ = with_quality(5000, 1)
    model = Calibration(interactions=True).fit(scores, y, quality)
    point = OperatingPoint(0.01)
    for value in (1.0, 2.5):
        at = model.threshold(point, value)
        assert model.transform([at], [value])[0] == pytest.approx(point.threshold)
    assert model.threshold(point) == pytest.approx(model.threshold(point, quality.mean()))


def test_thresholds_out_of_reach():
    scores, y, *_ = shared_variance(2000, 1)
    model = Calibration("isotonic").fit(scores, y)
    assert model.threshold(OperatingPoint(1e-12)) == math.inf
    assert model.threshold(OperatingPoint(1 - 1e-12)) == -math.inf
    with pytest.raises(DataError, match="turn the sign"):
        Calibration().fit(-scores, y).threshold(OperatingPoint(0.5))


# --- models ------------------------------------------------------------------------------------


def some_models():
    scores, y, quality, _ = with_quality(3000, 1)
    return [
        Calibration().fit(scores, y),
        Calibration("isotonic").fit(scores, y),
        Calibration("gaussian").fit(scores, y),
        Calibration(prior=0.01, ridge=1e-3, interactions=True, names=["Dauer, größer"]).fit(
            scores, y, quality
        ),
    ]


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_models_come_back_as_they_were(tmp_path):
    scores, _, quality, _ = with_quality(200, 3)
    for n, model in enumerate(some_models()):
        path = tmp_path / f"{n}.json"
        save_model(path, model, {"speakers": 7})
        again, training = read_model(path)
        extra = quality if n == 3 else None
        assert np.array_equal(again.transform(scores, extra), model.transform(scores, extra))
        assert again.get_params() == model.get_params() and training == {"speakers": 7}
        save_model(tmp_path / "again.json", load_model(path), training)
        assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_files_that_are_no_models_are_named(tmp_path):
    scores, y, *_ = shared_variance(500, 1)
    path = tmp_path / "model.json"
    save_model(path, Calibration().fit(scores, y))
    good = path.read_text()
    content = json.loads(good)
    model = content["model"]
    damaged = [
        (good[:-20], "damaged"),
        ("", "damaged"),
        ("[1]", "not a calibration or fusion"),
        ("{}", "not a calibration or fusion"),
        ("[" * 100_000, "damaged"),
        (good.replace('"format": 1', '"format": 9'), "format 9 .* upgrade"),
        (good.replace('"kind": "calibration"', '"kind": "tea"'), "'tea' model"),
        (json.dumps({**content, "model": None}), "its model is None"),
        (json.dumps({**content, "model": {**model, "coef_": [1.0, 2.0]}}), "coefficients"),
        (json.dumps({**content, "model": {**model, "coef_": ["a"]}}), "damaged"),
        (json.dumps({**content, "model": {**model, "offset_": math.nan}}), "NaN"),
        (json.dumps({**content, "model": {**model, "options": {"method": "magic"}}}), "magic"),
        (json.dumps({**content, "model": {**model, "options": {"magic": 1}}}), "magic"),
        (json.dumps({**content, "model": {"options": model["options"]}}), "coef_"),
    ]
    for text, what in damaged:
        path.write_text(text)
        with pytest.raises(DataError, match=what) as error:
            load_model(path)
        assert str(path) in str(error.value)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="UTF-8"):
        load_model(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_model(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be saved"):
        save_model(path, object())


def test_scikit_learn_manners():
    model = Calibration("logistic", prior=0.1, interactions=True, names=["snr"])
    assert clone(model).get_params() == model.get_params()
    for call in (lambda: model.transform([1.0]), lambda: model.threshold(None), model.to_dict):
        with pytest.raises(NotFittedError):
            call()


# --- bad input ---------------------------------------------------------------------------------


def test_separable_scores_are_told():
    with pytest.warns(DegenerateDataWarning, match="separate"):
        model = Calibration().fit([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1])
    assert model.separable_ and np.isfinite(model.transform([-100.0, 100.0])).all()


@pytest.mark.parametrize(
    "arguments, what",
    [
        (([1.0, 2.0], [1, 1]), "no nontarget"),
        (([1.0, np.nan], [1, 0]), "1 scores are NaN or infinite, first in trial 1"),
        (([1.0, 1.0], [1, 0]), "all 2 scores are 1"),
        (([[[1.0], [2.0]]], [1]), "shape"),
        (([[1.0, 2.0]], [1, 0]), "1 trials but labels"),
        (([1.0, 2.0], [1, 0], [[3.0], [3.0]]), "quality measure quality 1 is 3 in all"),
        (([1.0, 2.0], [1, 0], [[3.0]]), "2 trials but quality measures"),
        (([1.0, 2.0], [1, 0], [np.inf, 3.0]), "quality measures are NaN"),
        ((["x", "y"], [1, 0]), "not numbers"),
    ],
)
def test_bad_data_is_named(arguments, what):
    with pytest.raises(DataError, match=what):
        Calibration().fit(*arguments)


def test_bad_options_and_measures_are_named():
    scores, y, quality, _ = with_quality(300, 1)
    for options in ({"method": "x"}, {"prior": 1.0}, {"ridge": -1}, {"names": ["a", "b"]}):
        with pytest.raises(UsageError):
            Calibration(**options).fit(scores, y, quality)
    with pytest.raises(UsageError, match='need method="logistic"'):
        Calibration("isotonic").fit(scores, y, quality)
    model = Calibration(names=["duration"]).fit(scores, y, quality)
    with pytest.raises(DataError, match="needs the quality measures duration"):
        model.transform(scores)
    with pytest.raises(DataError, match=r"2 quality measures.*1: duration"):
        model.transform(scores, np.column_stack([quality, quality]))
    with pytest.warns(
        DegenerateDataWarning, match="100% of trials have a duration far outside"
    ) as told:
        model.transform(scores, quality + 100)
    assert {warning.filename for warning in told} == {__file__}


# --- words -------------------------------------------------------------------------------------


def test_words_do_not_take_a_llr_for_a_posterior():
    assert describe_llr(2.3) == (
        "llr 2.3: these recordings are ten times more probable if one person spoke both than if "
        "two did."
    )
    assert "ten times more probable if two people spoke them than if one" in describe_llr(-2.3)
    assert "as probable if one person spoke both as if two did" in describe_llr(0.0)
    text = describe_llr(2.3, 0.01)
    assert text.startswith(describe_llr(2.3)) and "probability of 0.01 before" in text
    assert "it has 0.092 now" in text
    assert "now" not in describe_llr(2.3)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e300, 1e300), st.floats(1e-9, 1 - 1e-9))
def test_words_of_any_llr(llr, prior):
    text = describe_llr(llr, prior)
    posterior = text.rsplit("it has ", 1)[1].removesuffix(" now.")
    if posterior[0].isdigit():
        expected = 1 / (1 + math.exp(-llr) * (1 - prior) / prior)
        assert float(posterior) == pytest.approx(expected, rel=0.06)


def test_words_of_no_llr():
    assert "infinitely more" in describe_llr(math.inf, 0.5)
    with pytest.raises(DataError):
        describe_llr(math.nan)
    with pytest.raises(UsageError):
        describe_llr(1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("names", True), ("names", [1]), ("names", "x"), ("bounded", 1), ("prior", "0.5"),
     ("ridge", True), ("other", 1)],
)  # fmt: skip
def test_an_option_in_a_file_is_of_its_own_type(name, value):
    content = Calibration().fit([[0.0], [1], [2], [3]], [0, 1, 0, 1]).to_dict()
    content["options"][name] = value
    with pytest.raises(DataError, match="not a calibration of this toolkit, or damaged"):
        Calibration.from_dict(content)
