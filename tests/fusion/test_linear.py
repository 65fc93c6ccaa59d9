"""Linear fusion: scikit-learn's weights, the true llr of simulated systems, missing scores."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from fusion import LinearFusion
from fusion.calibration.saving import load_model, save_model
from fusion.metrics.rates import cllr
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError


def simulate(n=4000, n_systems=3, share=0.2, seed=0):
    """Gaussian systems of unequal scales with errors in common; scores and classes."""
    rng = np.random.default_rng(seed)
    target = rng.random(n) < share
    common = rng.normal(size=n)
    columns = [
        (k + 1) * (1.5 * target + 0.5 * common + rng.normal(size=n)) - 3 * k
        for k in range(n_systems)
    ]
    return np.column_stack(columns), target


def gaussians(shifts, n=200_000, seed=1):
    """Independent unit Gaussians whose true llr is the sum over systems; scores, classes, llr."""
    rng = np.random.default_rng(seed)
    target = rng.random(n) < 0.3
    scores = rng.normal(size=(n, len(shifts))) + np.outer(target, shifts)
    llr = scores @ np.array(shifts) - np.sum(np.square(shifts)) / 2
    return scores, target, llr


@pytest.mark.parametrize("prior", [0.5, 0.01, 0.9])
@pytest.mark.parametrize("n_systems", [1, 2, 5])
def test_equals_scikit_learn(prior, n_systems):
    scores, target = simulate(n_systems=n_systems)
    fusion = LinearFusion(prior=prior).fit(scores, target)
    weights = np.where(target, prior / target.mean(), (1 - prior) / (1 - target.mean()))
    peer = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    peer.fit(scores, target, sample_weight=weights)
    np.testing.assert_allclose(fusion.weights_, peer.coef_[0], rtol=0, atol=1e-6)
    offset = peer.intercept_[0] - np.log(prior / (1 - prior))
    assert fusion.offset_ == pytest.approx(offset, abs=1e-6)
    llr = fusion.transform(scores)
    assert llr.shape == (len(scores),)
    np.testing.assert_allclose(llr, scores @ fusion.weights_ + fusion.offset_)


def test_independent_gaussians_give_the_sum_of_their_llr():
    shifts = [2.0, 1.0]
    scores, target, _ = gaussians(shifts)
    # In units that the fusion does not know.
    fusion = LinearFusion().fit(scores * [10, 0.1] + [5, -3], target)
    np.testing.assert_allclose(fusion.weights_, [0.2, 10], rtol=0.05)
    scores, target, ideal = gaussians(shifts, seed=2)
    llr = fusion.transform(scores * [10, 0.1] + [5, -3])
    assert np.abs(llr - ideal).max() < 0.6 and np.abs(llr - ideal).mean() < 0.1
    best = cllr(ideal[target], ideal[~target])
    assert cllr(llr[target], llr[~target]) < 1.01 * best


def test_non_negative_weights():
    scores, target = simulate()
    scores[:, 2] = 0.5 * scores[:, 0] + np.random.default_rng(1).normal(size=len(scores))
    rng = np.random.default_rng(3)
    useless = scores[:, :1] * 0.9 + rng.normal(size=(len(scores), 1)) - 0.8 * target[:, None]
    scores = np.hstack([scores, useless])
    assert LinearFusion().fit(scores, target).weights_.min() < 0
    fusion = LinearFusion(non_negative=True).fit(scores, target)
    assert fusion.weights_.min() == 0
    kept = fusion.weights_ > 0
    peer = LinearFusion().fit(scores[:, kept], target)
    np.testing.assert_allclose(fusion.weights_[kept], peer.weights_, atol=1e-5)


def test_ridge_makes_weights_smaller():
    scores, target = simulate(n=200)
    norms = [
        np.linalg.norm(LinearFusion(ridge=ridge).fit(scores, target).weights_ * scores.std(axis=0))
        for ridge in (0, 0.01, 0.1, 1)
    ]
    assert norms == sorted(norms, reverse=True) and norms[-1] < 0.7 * norms[0]


@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize("noise", [0, 1e-7, 1e-4])
def test_the_same_system_twice_shares_its_weight(non_negative, noise):
    scores, target = simulate(n_systems=2)
    once = LinearFusion(non_negative=non_negative).fit(scores, target)
    again = scores[:, :1] + noise * np.random.default_rng(0).normal(size=(len(scores), 1))
    with pytest.warns(DegenerateDataWarning, match="2 of 3 systems"):
        fusion = LinearFusion(non_negative=non_negative).fit(np.hstack([scores, again]), target)
    assert fusion.rank_ == 2
    first, second, third = fusion.weights_
    assert first + third == pytest.approx(once.weights_[0], rel=1e-3)
    assert second == pytest.approx(once.weights_[1], rel=1e-3)
    if noise == 0 or not non_negative:
        assert first == pytest.approx(third, rel=1e-2)
    np.testing.assert_allclose(
        fusion.transform(np.hstack([scores, again])), once.transform(scores), atol=2e-3
    )


def test_twice_in_other_units():
    scores, target = simulate(n_systems=1)
    with pytest.warns(DegenerateDataWarning):
        fusion = LinearFusion().fit(np.hstack([scores, 100 * scores + 7]), target)
    once = LinearFusion().fit(scores, target)
    np.testing.assert_allclose(fusion.weights_, once.weights_[0] * np.array([0.5, 0.005]))


def test_order_of_systems_permutes_the_weights_only():
    scores, target = simulate(n_systems=4)
    scores[::7, 1] = np.nan
    scores[::5, 3] = np.nan
    order = [2, 0, 3, 1]
    one = LinearFusion(missing="fallback").fit(scores, target)
    other = LinearFusion(missing="fallback").fit(scores[:, order], target)
    np.testing.assert_allclose(other.weights_, one.weights_[order], rtol=1e-6)
    np.testing.assert_allclose(
        other.transform(scores[:, order]), one.transform(scores), rtol=1e-6, atol=1e-6
    )


def test_fallback_recovers_each_pattern():
    shifts = np.array([2.0, 1.0, 1.5])
    scores, target, _ = gaussians(shifts, n=120_000)
    holes = np.random.default_rng(0).random(scores.shape) < 0.3
    holes[holes.all(axis=1), 0] = False
    scores[holes] = np.nan
    fusion = LinearFusion(missing="fallback").fit(scores, target)
    assert len(fusion.patterns_) == 7 and fusion.patterns_[0].all()
    for pattern, weights, offset, n in zip(
        fusion.patterns_, fusion.pattern_weights_, fusion.pattern_offsets_, fusion.pattern_trials_
    ):
        rows = ~np.isnan(scores[:, pattern]).any(axis=1)
        assert n == rows.sum()
        np.testing.assert_allclose(weights, shifts * pattern, atol=0.1)
        assert offset == pytest.approx(-np.sum((shifts * pattern) ** 2) / 2, abs=0.15)
        alone = LinearFusion().fit(scores[rows][:, pattern], target[rows])
        np.testing.assert_allclose(weights[pattern], alone.weights_, atol=1e-9)
    llr = fusion.transform(scores)
    ideal = np.where(holes, 0, scores * shifts - shifts**2 / 2).sum(axis=1)
    best = cllr(ideal[target], ideal[~target])
    assert cllr(llr[target], llr[~target]) < 1.01 * best


def test_fallback_for_patterns_that_training_lacked():
    scores, target = simulate(n_systems=4)
    fusion = LinearFusion(missing="fallback").fit(scores, target)
    assert fusion.patterns_.sum(axis=1).tolist() == [4, 3, 3, 3, 3, 1, 1, 1, 1]
    holes = scores[:3].copy()
    holes[0, 2] = holes[1, 1:] = holes[2, :2] = np.nan
    llr = fusion.transform(holes)
    alone = LinearFusion().fit(scores[:, [0, 1, 3]], target)
    assert llr[0] == pytest.approx(alone.transform(scores[:1, [0, 1, 3]])[0])
    assert llr[1] == pytest.approx(
        LinearFusion().fit(scores[:, :1], target).transform([[scores[1, 0]]])[0]
    )
    singles = [LinearFusion().fit(scores[:, [k]], target) for k in (2, 3)]
    answers = [one.transform([[scores[2, k]]])[0] for one, k in zip(singles, (2, 3))]
    assert min(abs(llr[2] - answer) for answer in answers) < 1e-9


def test_missing_scores_are_refused_by_name_and_count():
    scores, target = simulate()
    scores[:5, 1] = scores[3, 2] = np.nan
    fusion = LinearFusion(names=["plda", "cosine", "gmm"])
    with pytest.raises(DataError, match=r"of 4000 trials 5 lack cosine, 1 lack gmm.*fallback"):
        fusion.fit(scores, target)
    fusion.fit(scores[10:], target[10:])
    with pytest.raises(DataError, match="5 lack cosine"):
        fusion.transform(scores)
    scores[7] = np.nan
    with pytest.raises(
        DataError, match=r"1 of 4000 trials have no score of any system, first at 7"
    ):
        LinearFusion(missing="fallback").fit(scores, target)


def test_mistakes():
    scores, target = simulate()
    names = ["plda", "cosine", "gmm"]
    constant = scores.copy()
    constant[:, 1] = 1.5
    cases = [
        ((constant, target), "all 4000 scores of cosine are 1.5 and tell nothing"),
        (
            (np.where(scores == scores[9], np.inf, scores), target),
            "1 of 4000 scores of plda are inf",
        ),
        ((scores * [1, 1, np.nan], target), "gmm has no score of any trial"),
        ((scores, np.ones(4000)), "no nontarget trial"),
        ((scores, np.zeros(4000)), "no target trial"),
        ((scores, target[:-1]), "labels of shape"),
        ((scores, target - 1 * (scores[:, 0] > 1)), "3 classes; labels must be 1"),
        ((scores[:, 0], target), "give \\(n_trials, n_systems\\)"),
        (([["a", "b", "c"]], [1]), "not numbers"),
        ((np.empty((0, 3)), []), "shape \\(0, 3\\)"),
    ]
    for given, message in cases:
        with pytest.raises(DataError, match=message):
            LinearFusion(names=names).fit(*given)
    for options, message in (
        ({"prior": 1}, "prior"),
        ({"ridge": -1}, "ridge"),
        ({"ridge": np.inf}, "ridge"),
        ({"missing": "zero"}, "missing must be one of"),
        ({"names": ["a", "b"]}, "2 names for 3 systems"),
        ({"names": ["a", "b", "a"]}, "given to two systems"),
    ):
        with pytest.raises(UsageError, match=message):
            LinearFusion(**options).fit(scores, target)
    for call in (lambda: LinearFusion().transform(scores), LinearFusion().to_dict):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(DataError, match=r"X has 2 features.*3 features.*plda, cosine, gmm"):
        LinearFusion(names=names).fit(scores, target).transform(scores[:, :2])


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize("scale", [1, 1e-6, 1e9, 1e200])
def test_separable_scores_give_finite_weights(non_negative, scale):
    scores, target = simulate(n=300)
    scores[:, 1] += 100 * target
    fusion = LinearFusion(non_negative=non_negative).fit(scale * scores, target)
    assert fusion.separable_
    llr = fusion.transform(scale * scores)
    assert np.isfinite(fusion.weights_).all() and np.isfinite(llr).all()
    assert llr[target].min() > llr[~target].max()


def test_scikit_learn_manners():
    scores, target = simulate()
    fusion = LinearFusion(prior=0.1, ridge=0.01, non_negative=True, missing="fallback")
    twin = clone(fusion)
    assert twin.get_params() == fusion.get_params() and not hasattr(twin, "weights_")
    one, two = fusion.fit(scores, target), twin.fit(scores, target.astype(int))
    assert one.weights_.tobytes() == two.weights_.tobytes() and one.offset_ == two.offset_
    np.testing.assert_array_equal(
        clone(fusion).fit_transform(scores, target), fusion.transform(scores)
    )


def test_saved_and_loaded(tmp_path):
    scores, target = simulate()
    scores[::3, 1] = np.nan
    fusion = LinearFusion(missing="fallback", names=["ä", "b", "c"]).fit(scores, target)
    save_model(tmp_path / "one.json", fusion)
    loaded = load_model(tmp_path / "one.json")
    assert loaded.get_params() == fusion.get_params()
    assert loaded.transform(scores).tobytes() == fusion.transform(scores).tobytes()
    save_model(tmp_path / "two.json", loaded)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    content = fusion.to_dict()
    for damage in (
        {"patterns": []},
        {"patterns": [{"systems": [0]}]},
        {"patterns": [{**content["patterns"][0], "systems": [0, 1, 9]}]},
        {"patterns": [{**content["patterns"][0], "offset": float("nan")}]},
        {"options": {**content["options"], "prior": 2}},
        {"options": {"what": 1}},
        {"options": None},
    ):
        with pytest.raises(DataError, match="not a fusion"):
            LinearFusion.from_dict({**content, **damage})


def test_well_posed_systems_warn_of_nothing():
    scores, target = simulate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearFusion(missing="fallback").fit(scores, target)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(150))
def test_whatever_comes_is_fused_or_refused(seed):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 40), rng.integers(1, 5)
    scores, target = rng.normal(size=(n, k)), rng.random(n) < rng.choice([0.1, 0.5])
    kind = seed % 6
    if kind == 0:
        scores = np.round(scores)
    elif kind == 1:
        scores *= 10.0 ** rng.integers(-300, 300, size=k)
    elif kind == 2:
        scores[:, -1] = scores[:, 0]
    elif kind == 3:
        scores += 10.0 ** rng.integers(0, 17)
    elif kind == 4:
        scores = rng.choice([0.0, 1.0, -1e308, 1e308, 1e-310], size=(n, k))
    else:
        scores[:, 0] += 100 * target
    if rng.random() < 0.4:
        scores[rng.random(scores.shape) < 0.3] = np.nan
    options = {
        "ridge": rng.choice([0, 1e-6, 0.1]),
        "non_negative": bool(rng.random() < 0.5),
        "missing": str(rng.choice(["refuse", "fallback"])),
    }
    try:
        fusion = LinearFusion(**options).fit(scores, target)
        llr = fusion.transform(scores)
    except DataError:
        return
    assert np.isfinite(llr).all() and np.isfinite(fusion.weights_).all()
    loaded = LinearFusion.from_dict(fusion.to_dict())
    np.testing.assert_array_equal(loaded.transform(scores), llr)
