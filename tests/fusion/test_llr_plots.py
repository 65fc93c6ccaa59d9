"""Plots of likelihood ratios: the same bytes every time, and curves equal to their definitions."""

import os
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from fusion.metrics.points import OperatingPoint
from fusion.metrics.rates import OperatingPoints, act_dcf, cllr, min_cllr, min_dcf
from fusion.plots import drawing
from fusion.plots import llr as llr_plots
from ivector.base.errors import DataError, UsageError

PLOTS = {
    "tippett": llr_plots.plot_tippett,
    "reliability": llr_plots.plot_reliability,
    "ape": llr_plots.plot_ape,
    "ece": llr_plots.plot_ece,
}


def scores(seed, separation=3.0, scale=1.0):
    """Log-likelihood ratios of targets and nontargets; calibrated at a scale of 1."""
    rng = np.random.default_rng(seed)
    mean = separation**2 / 2
    tar, non = rng.normal(mean, separation, 300), rng.normal(-mean, separation, 6000)
    return scale * tar, scale * non


@pytest.fixture(scope="module")
def systems():
    made = {"good": scores(0, 3.5), "fair <&>": scores(1, 2.0), "overconfident": scores(2, 2.0, 3)}
    return {name: OperatingPoints(*pair) for name, pair in made.items()}


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_same_bytes_twice(tmp_path, systems, kind):
    drawn = []
    for folder in ("one", "two"):
        for name, plot in PLOTS.items():
            plot(tmp_path / folder / f"{name}.{kind}", systems, title=name)
        drawn.append([(tmp_path / folder / f"{name}.{kind}").read_bytes() for name in PLOTS])
    assert drawn[0] == drawn[1]
    start = b"\x89PNG" if kind == "png" else b"<?xml"
    assert all(content.startswith(start) and len(content) < 500_000 for content in drawn[0])
    assert "matplotlib.pyplot" not in sys.modules


EXTREMES = {
    "separable": ([5.0, 6.0], [-1.0, 0.0]),
    "reversed": ([0.0, 1.0], [5.0, 6.0]),
    "one score": ([1.0], [1.0]),
    "infinite": ([np.inf, 1.0], [-np.inf, 0.0]),
    "all infinite": ([np.inf], [-np.inf]),
    "huge": ([1e5, 0.0], [-1e5, 1.0]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pair", EXTREMES.values(), ids=EXTREMES)
def test_extreme_scores_are_drawn(tmp_path, pair):
    points = {"x": OperatingPoints(*pair)}
    for name, plot in PLOTS.items():
        plot(tmp_path / f"{name}.png", points)
    llr_plots.plot_ape(tmp_path / "points.png", points, [0.001, OperatingPoint(0.01, 10, 1)])
    assert len(os.listdir(tmp_path)) == 5


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_bayes_errors_are_costs(scale):
    tar, non = scores(3, scale=scale)
    odds = np.linspace(-6, 6, 25)
    actual, least = llr_plots.bayes_errors(OperatingPoints(tar, non), odds)
    for logit, one, two in zip(odds, actual, least):
        prior = 1 / (1 + np.exp(-logit))
        assert one == pytest.approx(act_dcf(tar, non, prior), rel=1e-9)
        assert two == pytest.approx(min_dcf(tar, non, prior), rel=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_cross_entropy_at_even_odds_is_cllr(ties):
    tar, non = (np.round(side) if ties else side for side in scores(4))
    (actual,), (least,) = llr_plots.cross_entropies(OperatingPoints(tar, non), np.zeros(1))
    assert actual == pytest.approx(cllr(tar, non), rel=1e-9)
    assert least == pytest.approx(min_cllr(tar, non), rel=1e-9)


def test_cross_entropy_is_its_definition():
    """D. Ramos et al., 2013, equation 5."""
    tar, non = scores(5)
    odds = np.array([-4.0, 1.5])
    found, _ = llr_plots.cross_entropies(OperatingPoints(tar, non), odds)
    for value, logit in zip(found, odds):
        prior = 1 / (1 + np.exp(-logit))
        miss = np.mean(np.log2(1 + np.exp(-tar - logit)))
        accept = np.mean(np.log2(1 + np.exp(non + logit)))
        assert value == pytest.approx(prior * miss + (1 - prior) * accept, rel=1e-9)


def test_cross_entropy_of_many_trials(monkeypatch):
    points = OperatingPoints(*scores(7, scale=2))
    odds = np.linspace(-7, 7, 15)
    exact = llr_plots.cross_entropies(points, odds)
    monkeypatch.setattr(llr_plots, "_EXACT", 10)
    for merged, one in zip(llr_plots.cross_entropies(points, odds), exact):
        np.testing.assert_allclose(merged, one, atol=2e-5)
    infinite = OperatingPoints([np.inf, *np.arange(20.0)], [-np.inf, *-np.arange(30.0)])
    (actual,), _ = llr_plots.cross_entropies(infinite, np.zeros(1))
    assert 0 < actual < 1


def test_reliability_steps_are_pav():
    tar, non = scores(6)
    points = OperatingPoints(tar, non)
    given, found = llr_plots.pav_steps(points)
    assert (np.diff(given) >= 0).all() and (np.diff(found[np.isfinite(found)]) >= 0).all()
    assert given[0] == min(tar.min(), non.min()) and given[-1] == max(tar.max(), non.max())
    np.testing.assert_array_equal(found, points.pav(given))


def test_tippett_curves_are_parts_of_trials():
    tar, non = np.log(10) * np.array([-1.0, 1, 2, 2]), np.log(10) * np.array([-3.0, -2, -2, 0.5])
    axes = llr_plots.draw_tippett(Figure(), drawing.PAPER, {"x": OperatingPoints(tar, non)})
    rising, falling = axes.get_lines()[:2]
    for line, value in (
        (rising, [0, 0, 0.25, 0.25, 0.5, 1]),
        (falling, [0.75, 0.25, 0.25, 0.25, 0, 0]),
    ):
        at = np.array([-2.5, -1.999, -0.999, 0.001, 1.001, 2.001])
        assert _stepped(line, at) == value


def _stepped(line, at):
    """Values of a step line right of its steps (post) or left of them (pre)."""
    x, y = line.get_data(orig=True)
    if line.get_drawstyle() == "steps-post":
        return [float(y[np.searchsorted(x, value, side="right") - 1]) for value in at]
    return [float(y[np.searchsorted(x, value, side="left")]) for value in at]


def test_powers_of_ten_are_named():
    names = [llr_plots.power(n) for n in (-12, -3, -1, 0, 2, 3, 4, 10)]
    assert names == ["10⁻¹²", "1/1000", "1/10", "1", "100", "1000", "10⁴", "10¹⁰"]


def test_points_far_out_are_inside(systems):
    shown = drawing.marks([1e-6])
    axes = llr_plots.draw_ape(Figure(), drawing.PAPER, systems, shown)
    assert axes.get_xlim()[0] < np.log(1e-6) - 0.5


def test_refusals(tmp_path, systems):
    for plot in PLOTS.values():
        with pytest.raises(UsageError, match=r"\.png or \.svg"):
            plot(tmp_path / "x.pdf", systems)
        with pytest.raises(UsageError, match="no systems"):
            plot(tmp_path / "x.png", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        llr_plots.plot_ape(tmp_path / "file" / "x.png", systems)
    assert os.listdir(tmp_path) == ["file"]


def test_colours_of_a_part_of_the_systems():
    look = drawing.Look(order=(2, 0))
    assert look.curve(0) == drawing.PAPER.curve(2) and look.curve(1) == drawing.PAPER.curve(0)
    assert len({drawing.PAPER.curve(n) for n in range(28)}) == 28
