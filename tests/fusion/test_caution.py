"""Llr of another domain: drawn towards 0 as far as their bulk has moved, in the same order."""

import numpy as np
import pytest

from fusion.calibration.caution import LEAST_DOUBT, Caution, caution
from fusion.metrics import OperatingPoints
from ivector.base.errors import DataError, UsageError


def world(shift=0.0, scale=1.0, n=2000, seed=0):
    """Llr that are right where shift and scale are 0 and 1, and which are targets."""
    rng = np.random.default_rng(seed)
    target = np.arange(n) % 20 == 0
    llr = rng.normal(np.where(target, 8, -8), 4, n)  # variance twice the mean: calibrated
    return llr * scale + shift * 4, target


def test_what_is_said_is_done():
    llr = np.linspace(-30, 30, 101)
    found = Caution(0.1, 0.0, 1.0)
    ratio = np.exp(llr)
    by_hand = np.log((0.9 * ratio + 0.1) / (0.9 + 0.1 * ratio)) + 1e-3 * np.arcsinh(llr)
    np.testing.assert_allclose(found.transform(llr), by_hand, rtol=1e-12, atol=1e-12)
    assert found.most == pytest.approx(np.log(9))
    np.testing.assert_array_equal(Caution(0.0, 0.0, 1.0).transform(llr), llr)
    assert np.isfinite(found.transform([-1e308, 1e308])).all()


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (0.5, 1), (1, 1.5), (-1, 0.5), (3, 3)])
def test_doubt_is_the_formula_and_the_order_stays(shift, scale):
    development, target = world()
    llr, _ = world(shift, scale, seed=1)
    found = caution(llr, development[~target])
    distance = found.shift**2 / 2 + 2 * np.log(found.scale) ** 2
    assert found.doubt == pytest.approx(
        min(max(LEAST_DOUBT, (1 - np.exp(-distance / 2)) / 2), 0.5), abs=1e-5
    )
    order = np.argsort(llr)
    after = found.transform(llr)
    assert (np.diff(after[order]) > 0).all() and (np.sign(after) == np.sign(llr)).all()
    assert np.abs(after).max() <= found.most + 0.01


@pytest.mark.parametrize(("shift", "scale"), [(1.5, 1), (4, 1), (2, 3), (2, 2)])
def test_acting_on_them_costs_no_more_than_saying_nothing(shift, scale):
    development, target = world()
    llr, _ = world(shift, scale, seed=1)
    raw, drawn = (
        OperatingPoints(x[target], x[~target])
        for x in (llr, caution(llr, development[~target]).transform(llr))
    )
    assert raw.act_dcf(0.01) > 1.05 or raw.cllr() > 0.3
    assert drawn.act_dcf(0.01) <= 1.0 and drawn.cllr() < 1.0


def test_within_the_domain_only_the_least_doubt_is_left():
    development, target = world()
    llr, _ = world(seed=1)
    assert caution(llr, development[~target]).doubt == LEAST_DOUBT
    assert caution(llr, development[~target], least=0).doubt < 0.01


def test_no_scores_are_refused():
    with pytest.raises(DataError):
        caution([], [1.0, 2.0])
    with pytest.raises(DataError, match="NaN"):
        caution([np.nan], [1.0, 2.0])
    with pytest.raises(DataError, match="most scores are infinite"):
        caution([np.inf] * 5 + [1.0] * 3, [1.0, 2.0])
    with pytest.raises(UsageError, match="least must be from 0 to"):
        caution([1.0], [1.0, 2.0], least=0.7)


def test_scores_that_do_not_vary_have_finite_numbers():
    found = caution(np.ones(9), np.zeros(9))
    assert found.doubt == 0.5 and np.isfinite([found.shift, found.scale]).all()
