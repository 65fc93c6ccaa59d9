"""Calibrated llr, written and read back, have the order of the scores."""

import numpy as np
import pytest
from order_cases import STRICT, changes, elsewhere, metrics, score_set, written

from fusion.calibration.one_system import Calibration
from fusion.formats.files import read_scores


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_no_metric_of_random_sets_changes(first):
    for number in range(first, first + 50):
        rng = np.random.default_rng([1, number])
        assert list(changes(rng, *score_set(rng))) == [], number


def test_changes_are_seen(monkeypatch):
    """Llr that level off, as they would without a slope at their bounds, change the metrics."""
    level = Calibration.transform
    monkeypatch.setattr(Calibration, "transform", lambda self, X: np.minimum(level(self, X), 1.0))
    rng = np.random.default_rng(2)
    y = np.arange(900) < 300
    assert any(
        text.startswith("bounded:") for text in changes(rng, 3 * y + rng.normal(size=900), y)
    )


@pytest.mark.parametrize("name", STRICT)
def test_no_metric_of_real_scores_changes(name, golden, tmp_path):
    scores = read_scores(golden / "plda" / "scores_utt.txt")
    of = [
        np.array([one.partition("_")[0] for one in ids])
        for ids in (scores.enrol_ids, scores.test_ids)
    ]
    y = of[0][scores.enrol] == of[1][scores.test]
    model = STRICT[name]().fit(scores.values, y)
    for values in (scores.values, elsewhere(np.random.default_rng(3), scores.values)):
        llr = written(tmp_path / "llr", model.transform(values))
        np.testing.assert_allclose(metrics(llr, y), metrics(values, y), atol=1e-9, rtol=0)
