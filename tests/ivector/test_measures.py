"""What a recording sounds like: the numbers by hand, and what moves them."""

import numpy as np
import pytest

from ivector.base.errors import DataError
from ivector.measures import groups, measure


@pytest.fixture
def recording():
    """Features (300, 6) whose level tells speech from pauses, and the decisions."""
    rng = np.random.default_rng(0)
    voiced = np.arange(300) % 30 < 20
    X = rng.normal(size=(300, 6)) + np.arange(6)
    X[:, 0] += np.where(voiced, 18, 8)
    X[~voiced, 1:] -= 3
    return X, voiced


def test_numbers_are_those_of_the_text(recording):
    X, voiced = recording
    found = measure(X, voiced)
    where = groups(len(found))
    X = X.astype(np.float32).astype(float)
    by_hand = {
        "duration": [np.log(300)],
        "dynamics": [voiced.mean(), *np.subtract(*np.percentile(X[:, 0], [[95, 75], [5, 25]]))],
        "spectrum": X[voiced, 1:].mean(axis=0),
        "spread": X[voiced].std(axis=0),
        "pauses": X[~voiced, 1:].mean(axis=0),
    }
    for name, values in by_hand.items():
        np.testing.assert_allclose(found[where[name]], values, rtol=1e-6, err_msg=name)
    steps = [X[t + 1] - X[t] for t in range(299) if voiced[t : t + 2].all()]
    turns = [X[t + 2] - 2 * X[t + 1] + X[t] for t in range(298) if voiced[t : t + 3].all()]
    logs = [np.log(np.std(part, axis=0) + 1e-3) for part in (X[voiced], steps, turns)]
    by_hand = np.concatenate([logs[1] - logs[2], logs[1] - logs[0]])
    np.testing.assert_allclose(found[where["roughness"]], by_hand, rtol=1e-5)
    assert where["roughness"].stop == len(found)


def test_noise_narrows_the_dynamics_and_a_filter_moves_the_spectrum(recording):
    X, voiced = recording
    where = groups(32)
    noisy = X.copy()
    noisy[:, 0] = np.logaddexp(X[:, 0], 14)
    assert (measure(noisy, voiced) < measure(X, voiced))[where["dynamics"]][1:].all()
    filtered = measure(X - [0, 0, 2, 0, 0, 0], voiced) - measure(X, voiced)
    moved = np.flatnonzero(np.abs(filtered) > 1e-3)
    assert moved.tolist() == [where["spectrum"].start + 1, where["pauses"].start + 1]


@pytest.mark.parametrize("n_frames", [1, 2, 3, 7])
def test_short_recordings_have_numbers(n_frames):
    X = np.random.default_rng(0).normal(size=(n_frames, 4))
    for voiced in (np.ones(n_frames, bool), np.zeros(n_frames, bool)):
        assert np.isfinite(measure(X, voiced)).all()


def test_no_frames_are_refused():
    with pytest.raises(DataError, match="no frames"):
        measure(np.empty((0, 4)), np.empty(0, bool))
