"""Plots: written whole, the same bytes every time, and honest about what they show."""

import os
import sys

import numpy as np
import pytest

from fusion.intervals.bootstrap import bootstrap_interval
from fusion.metrics.curve import OperatingPoints
from fusion.plots import det as plots
from fusion.plots import drawing
from ivector.base.errors import DataError, UsageError


@pytest.fixture(scope="module")
def systems():
    rng = np.random.default_rng(0)
    return {
        name: OperatingPoints(rng.normal(d, 1, 500), rng.normal(0, 1, 20_000))
        for name, d in (("good", 4), ("fair <&>", 2), ("chance", 0))
    }


@pytest.fixture(scope="module")
def intervals():
    rng = np.random.default_rng(1)
    enrol, test = np.repeat(np.arange(15), 45), np.tile(np.repeat(np.arange(15), 3), 15)
    scores = rng.normal(size=enrol.size) + 3 * (enrol == test)
    options = {"band": plots.det_band(), "n_bootstrap": 50}
    return {"good": bootstrap_interval(scores, enrol == test, enrol, test, **options)}


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_same_bytes_twice(tmp_path, systems, intervals, kind):
    drawn = []
    for folder in ("one", "two"):
        names = [tmp_path / folder / f"{name}.{kind}" for name in ("det", "roc", "hist")]
        plots.plot_det(names[0], systems, [0.01, 0.1], intervals, title="DET")
        plots.plot_roc(names[1], systems)
        plots.plot_score_histogram(names[2], [1.0, 2.0, 3.0], [0.0, 0.5, np.inf])
        drawn.append([name.read_bytes() for name in names])
        assert sorted(os.listdir(tmp_path / folder)) == sorted(name.name for name in names)
    assert drawn[0] == drawn[1]
    start = b"\x89PNG" if kind == "png" else b"<?xml"
    assert all(content.startswith(start) and len(content) < 500_000 for content in drawn[0])
    assert "matplotlib.pyplot" not in sys.modules


EXTREMES = {
    "separable": ([5.0, 6.0], [0.0, 1.0]),
    "reversed": ([0.0, 1.0], [5.0, 6.0]),
    "one score": ([1.0], [1.0]),
    "infinite": ([np.inf, 1.0], [-np.inf, 0.0]),
    "all infinite": ([np.inf], [-np.inf]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scores", EXTREMES.values(), ids=EXTREMES)
def test_extreme_scores_are_drawn(tmp_path, scores):
    points = {"x": OperatingPoints(*scores)}
    plots.plot_det(tmp_path / "det.png", points, [0.01, 0.99])
    plots.plot_roc(tmp_path / "roc.png", points)
    plots.plot_score_histogram(tmp_path / "hist.png", *scores)
    assert len(os.listdir(tmp_path)) == 3


def test_thinning_keeps_the_curve(systems):
    rates = systems["fair <&>"].rates()
    keep = drawing.thin(rates.p_fa, rates.p_miss, 1e-2)
    assert keep[0] == 0 and keep[-1] == len(rates.p_fa) - 1 and len(keep) < 0.1 * len(rates.p_fa)
    curve = np.column_stack([rates.p_fa, rates.p_miss])
    apart = np.linalg.norm(curve[::7, None] - curve[keep], axis=2).min(axis=1)
    assert apart.max() <= np.sqrt(2) * 1e-2


def test_frame_shows_marked_points(systems):
    frame = plots._Frame(systems, drawing.marks([0.01, 0.1]))
    for points in (systems["good"], systems["fair <&>"]):
        for prior in (0.01, 0.1):
            p_miss, p_fa, _ = points.rates(np.array([points.best_point(prior)]))
            assert frame.range[0] < p_miss[0] < frame.range[1]
            assert frame.range[0] <= p_fa[0] < frame.range[1]
        assert frame.range[0] < points.eer() < frame.range[1]


def test_refusals(tmp_path, systems):
    for call in (plots.plot_det, plots.plot_roc):
        with pytest.raises(UsageError, match=r"\.png or \.svg"):
            call(tmp_path / "x.pdf", systems)
        with pytest.raises(UsageError, match="no systems"):
            call(tmp_path / "x.png", {})
    with pytest.raises(DataError):
        plots.plot_score_histogram(tmp_path / "x.png", [], [1.0])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        plots.plot_roc(tmp_path / "file" / "x.png", systems)
    assert os.listdir(tmp_path) == ["file"]
