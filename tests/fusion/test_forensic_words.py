"""What a validation says of llr that are far out, tied, or of wrong labels, and of their sign."""

import numpy as np
import pytest

from fusion import Calibration
from fusion.calibration.wording import taken_for_another
from fusion.forensic import llr_overestimation, validate
from fusion.forensic.verbal import conclude, ratio_text
from fusion.forensic.words import sentences
from fusion.metrics import OperatingPoints
from fusion.metrics.order import order
from ivector.base.errors import DataError

LN10 = np.log(10)


def heavy(seed=0, n_targets=240, n_nontargets=6000):
    """Llr with a few nontargets so far out that means, and slopes, are turned about."""
    rng = np.random.default_rng(seed)
    target = np.arange(n_targets + n_nontargets) < n_targets
    llr = np.where(target, 3.0, -3.0) + 2 * rng.normal(size=len(target))
    llr[-6:] = 1e5
    enrol = rng.integers(40, size=len(target))
    return llr, target, enrol, np.where(target, enrol, (enrol + rng.integers(1, 40)) % 40)


def test_a_sign_is_told_by_the_order_and_not_by_means():
    llr, target, *sides = heavy()
    assert llr[target].mean() < llr[~target].mean()
    found = order(OperatingPoints(llr[target], llr[~target]))
    assert found.higher and not found.turned
    text = " ".join(validate(llr, target, *sides, n_bootstrap=0)["cautions"])
    assert "rule logistic calibration" in text and "turn their sign" not in text
    assert Calibration("bigaussian").fit(llr, target).sigma_[0] > 1
    text = " ".join(validate(-llr, target, *sides, n_bootstrap=0, n_folds=0)["cautions"])
    assert "turn their sign" in text


def test_tied_llr_have_a_mean_distance_and_no_densities():
    rng = np.random.default_rng(0)
    target = np.arange(4000) < 400
    llr = np.where(rng.random(4000) < 0.1, -1.0, 1.0) * np.where(target, 1, -1)
    enrol = rng.integers(40, size=4000)
    test = np.where(target, enrol, (enrol + 1) % 40)
    found = validate(llr, target, enrol, test, n_bootstrap=0, n_folds=0)
    assert found["overestimation"] is None
    shares = [np.mean(llr[which] > 0) for which in (target, ~target)]
    told = np.log([shares[0] / shares[1], (1 - shares[0]) / (1 - shares[1])])
    up = (shares[0] + shares[1]) / 2
    mean = up * abs(1 - told[0]) + (1 - up) * abs(-1 - told[1])
    assert found["mean_distance"] == pytest.approx(mean, abs=1e-9)
    text = sentences("x", found)[0]
    assert f"LR differ by a factor of {ratio_text(mean)} from those that PAV finds" in text
    assert "densities" not in text
    with pytest.raises(DataError, match="have no densities"):
        llr_overestimation(llr[target], llr[~target])


def test_wrong_labels_are_no_logarithms():
    rng = np.random.default_rng(0)
    target = np.arange(9000) < 1000
    llr = np.where(target, 4.5, -4.5) + 3 * rng.normal(size=9000)
    assert "decimal" in taken_for_another(llr / LN10, target)
    rng, wrong = np.random.default_rng(1), target.copy()
    for of_class, part in ((target, 12), (~target, 100)):
        rows = rng.permutation(np.flatnonzero(of_class))[: of_class.sum() // part]
        wrong[rows] = ~wrong[rows]
    slope = Calibration().fit(llr, wrong).coef_[0]
    times = slope * LN10  # their slope is then that of natural llr taken for decimal ones
    assert Calibration().fit(llr * times, wrong).coef_[0] == pytest.approx(1 / LN10)
    assert taken_for_another(llr * times, wrong) == ""


def test_no_minus_before_nothing():
    assert conclude(-0.001).startswith("LR 1 (log10 0.00)")
