"""Cross-validation over speakers: what each model saw, against a brute-force definition."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fusion import Calibration, LinearFusion, cllr, cross_validate
from fusion.calibration.crossval import speaker_blocks
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError


def world(n_speakers=20, per_speaker=4, seed=0):
    """Every recording against every later one: scores, labels and speakers of the sides."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(n_speakers), per_speaker)
    a, b = np.triu_indices(len(speaker), 1)
    y = speaker[a] == speaker[b]
    return 2 * y + rng.standard_normal(len(y)), y, speaker[a], speaker[b]


class Witness(BaseEstimator):
    """Gives each trial a number under which it has kept the trials it was trained on."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):
        Witness.seen.append(set(X.tolist()))
        assert y.any() and not y.all()
        self.number_ = len(Witness.seen) - 1
        return self

    def transform(self, X):
        return np.full(len(X), float(self.number_))


@pytest.mark.parametrize("n_folds", [3, 4, 7])
def test_no_model_knows_a_speaker_of_the_trials_it_scores(n_folds):
    _, y, enrol, test = world()
    Witness.seen = []
    rows = np.arange(len(y))
    model = cross_validate(Witness(), rows, y, enrol, test, n_folds=n_folds).astype(int)
    assert len(Witness.seen) == n_folds * (n_folds + 1) // 2
    block = dict(zip(enrol, speaker_blocks(enrol, test, y, n_folds=n_folds)[0]))
    block |= dict(zip(test, speaker_blocks(enrol, test, y, n_folds=n_folds)[1]))
    for row in rows[::17]:
        held = {block[enrol[row]], block[test[row]]}
        expected = {
            int(other) for other in rows if not held & {block[enrol[other]], block[test[other]]}
        }
        assert Witness.seen[model[row]] == expected
        sides = {*enrol[[*expected]], *test[[*expected]]}
        assert not sides & {enrol[row], test[row]}


def test_blocks_are_balanced_and_named_speakers_do():
    _, y, enrol, test = world(23)
    blocks = speaker_blocks(enrol, test, y, n_folds=5, random_state=3)
    again = speaker_blocks(enrol, test, y, n_folds=5, random_state=3)
    assert all(np.array_equal(*pair) for pair in zip(blocks, again))
    other = speaker_blocks(enrol, test, y, n_folds=5, random_state=4)
    assert not np.array_equal(blocks[0], other[0])
    speakers = {s: b for side, at in zip((enrol, test), blocks) for s, b in zip(side, at)}
    sizes = np.bincount([*speakers.values()])
    assert sizes.max() - sizes.min() <= 1
    names = np.array([f"speaker {n:02d}" for n in range(23)])
    named = speaker_blocks(names[enrol], names[test], y, n_folds=5, random_state=3)
    assert np.array_equal(named[0], blocks[0])


def test_one_large_speaker_has_a_block_of_her_own():
    y = np.array([True] * 100 + [True] * 8 + [False] * 8)
    enrol = np.array([0] * 100 + [1, 2, 3, 4] * 4)
    test = np.where(y, enrol, (enrol % 4) + 1)
    enrol_block, _ = speaker_blocks(enrol, test, y, n_folds=3)
    assert (enrol[enrol_block == enrol_block[0]] == 0).all()


def test_calibration_is_honest_and_deterministic():
    scores, y, enrol, test = world(40)
    quality = np.random.default_rng(1).random(len(y))
    llr = cross_validate(Calibration(), scores, y, enrol, test)
    assert np.array_equal(llr, cross_validate(Calibration(), scores, y, enrol, test))
    own = Calibration().fit_transform(scores, y)
    assert cllr(own[y], own[~y]) < cllr(llr[y], llr[~y]) < cllr(own[y], own[~y]) * 1.05
    with_quality = cross_validate(Calibration(), scores, y, enrol, test, quality=quality)
    assert np.abs(with_quality - llr).max() < 1 and (with_quality != llr).any()


def test_the_estimator_is_left_alone():
    scores, y, enrol, test = world()
    model = Calibration()
    cross_validate(model, scores, y, enrol, test)
    assert not hasattr(model, "coef_")


def test_bad_input_is_named():
    scores, y, enrol, test = world(4)
    with pytest.raises(DataError, match="4 speakers cannot be dealt into 5 folds"):
        cross_validate(Calibration(), scores, y, enrol, test)
    with pytest.raises(DataError, match="no nontarget trials are left"):
        cross_validate(Calibration(), scores, y, enrol, test, n_folds=3)
    with pytest.raises(UsageError, match="at least 3 folds"):
        cross_validate(Calibration(), scores, y, enrol, test, n_folds=2)
    with pytest.raises(DataError, match="one for each trial"):
        cross_validate(Calibration(), scores, y, enrol[1:], test)
    with pytest.raises(DataError, match="one for each trial"):
        cross_validate(Calibration(), scores, y, enrol, test, quality=scores[1:])


def test_folds_that_are_separable_are_told_together():
    _, y, enrol, test = world()
    with pytest.warns(DegenerateDataWarning) as told:
        cross_validate(LinearFusion(), np.where(y, 1.0, -1.0)[:, None], y, enrol, test, n_folds=3)
    assert len(told) == 1 and told[0].filename == __file__
    assert "in the folds of a cross-validation, 6 times: " in str(told[0].message)
