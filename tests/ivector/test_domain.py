"""How far recordings lie outside a domain: false alarms, what is noticed, what is refused."""

import numpy as np
import pytest

from ivector.base.domain import Domain, sample
from ivector.base.errors import DataError

GROUPS = {"level": slice(0, 2), "shape": slice(2, 12)}


def recordings(rng, n_speakers, per_speaker):
    """Measures (n, 12) of which speakers and recordings share the variance, with heavy tails."""
    owners = np.repeat(np.arange(n_speakers), per_speaker)
    between = np.linspace(0.2, 1.5, 12)
    X = rng.normal(size=(n_speakers, 12))[owners] * between
    return X + rng.standard_t(4, size=X.shape), owners


@pytest.fixture(scope="module")
def domain():
    return Domain(*recordings(np.random.default_rng(0), 60, 6), GROUPS)


@pytest.mark.parametrize("size", [20, 50, 200])
def test_false_alarms_are_rare(domain, size):
    """A few per cent of sets, of many speakers or of one for every three recordings."""
    rng = np.random.default_rng(size)
    found = [
        domain.distance(recordings(rng, -(-size // per), per)[0][:size]).outside
        for per in (1, 3)
        for _ in range(60)
    ]
    assert np.mean(found) <= 0.08  # 5 %, and an error of 2 %
    single = domain.recordings(recordings(rng, 500, 1)[0])
    assert 0.01 < (single.values > 1).mean() < 0.10


@pytest.mark.parametrize(("columns", "name"), [([0], "level"), ([4, 7], "shape")])
def test_a_shift_is_noticed_and_named(domain, columns, name):
    rng = np.random.default_rng(1)
    for _ in range(20):
        X, _ = recordings(rng, 10, 2)
        X[:, columns] += 3
        found = domain.distance(X)
        assert found.outside and found.reasons[0] == name
        assert found.value == max(found.groups.values())
    alone = domain.recordings(X + 8 * np.isin(np.arange(12), columns))
    assert (alone.values > 1).mean() > 0.8 and alone.groups.count(name) > 15


def test_a_few_odd_recordings_do_not_decide(domain):
    X, _ = recordings(np.random.default_rng(2), 20, 2)
    X[:2] = 1e6
    assert not domain.distance(X).outside
    assert (domain.recordings(X).values[:2] > 1).all()


def test_same_numbers_whatever_was_asked_before(domain):
    training = recordings(np.random.default_rng(0), 60, 6)
    X, _ = recordings(np.random.default_rng(3), 90, 1)
    first = Domain(*training, GROUPS).distance(X)
    other = Domain(*training, GROUPS)
    other.distance(X[:30])
    assert first == other.distance(X) == domain.distance(X)


def test_very_many_training_recordings_are_sampled():
    owners = np.repeat(np.arange(1000), 20)
    rows = sample(owners, seed=1)
    assert len(rows) == 4000 and len(np.unique(owners[rows])) == 400
    np.testing.assert_array_equal(rows, sample(owners, seed=1))
    assert len(sample(owners[:100])) == 100


@pytest.mark.parametrize(
    ("n_speakers", "per_speaker", "what"),
    [(7, 5, "7 training speakers are too few"), (20, 1, "one recording a training speaker")],
)
def test_too_little_to_learn_from_is_refused(n_speakers, per_speaker, what):
    with pytest.raises(DataError, match=what):
        Domain(*recordings(np.random.default_rng(0), n_speakers, per_speaker), GROUPS)


def test_wrong_measures_are_refused(domain):
    with pytest.raises(DataError, match="expected 12 measures"):
        domain.distance(np.zeros((5, 11)))
    with pytest.raises(DataError, match="one recording"):
        domain.distance(np.zeros((1, 12)))
    with pytest.raises(DataError, match="not finite"):
        Domain(np.full((40, 12), np.nan), np.arange(40) // 2, GROUPS)


def test_measures_that_hardly_vary_make_nothing_odd():
    """Training recordings of one length, others a little longer."""
    rng = np.random.default_rng(0)
    X, owners = recordings(rng, 30, 3)
    X[:, 0] = np.log(300)
    domain = Domain(X, owners, GROUPS, resolution=np.full(12, 0.05))
    others, _ = recordings(rng, 20, 2)
    others[:, 0] = np.log(302)
    assert not domain.distance(others).outside
    others[:, 0] = np.log(600)
    assert domain.distance(others).reasons[0] == "level"
    unscaled = Domain(X, owners, GROUPS).distance(others)
    assert unscaled.outside and np.isfinite(unscaled.value)
    with pytest.raises(DataError, match="not finite"):
        domain.distance(others + np.nan)
