"""Scorers of model selection: their numbers, who is held out, and a search on real speech."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from fusion import VerificationScorer, bootstrap_interval
from fusion.metrics import cllr, eer, min_dcf
from ivector import MFCC, DiagonalGMM, EnergyVAD, FrontEnd, TotalVariability, read_audio
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.statistics import baum_welch
from plda import LDA, PLDA, Center, LengthNorm
from plda.scoring.cosine import Cosine


class Products(BaseEstimator):
    """Scores pairs by the product of their vectors, and counts them."""

    def fit(self, X, y=None):
        return self

    def score_trials(self, enrol, test, i, j):
        self.pairs_ = i, j
        return np.sum(enrol[i] * test[j], axis=1)


def vectors(n_speakers=20, n_each=5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat([f"s{k}" for k in range(n_speakers)], n_each)
    means = np.repeat(rng.normal(size=(n_speakers, 6)), n_each, axis=0)
    return means + 0.7 * rng.normal(size=means.shape), y


def by_hand(scores, y):
    i, j = np.triu_indices(len(y), 1)
    same = y[i] == y[j]
    return scores[i, j][same], scores[i, j][~same]


def test_numbers_are_those_of_all_pairs():
    X, y = vectors()
    order = np.random.default_rng(1).permutation(len(y))
    X, y = X[order], y[order]
    tar, non = by_hand(X @ X.T, y)
    assert VerificationScorer()(Products(), X, y) == pytest.approx(-eer(tar, non))
    assert VerificationScorer("cllr")(Products(), X, y) == pytest.approx(-cllr(tar, non))
    scorer = VerificationScorer("min_dcf", p_target=0.05, c_miss=10)
    assert scorer(Products(), X, y) == pytest.approx(-min_dcf(tar, non, 0.05, 10))
    # The steps before the last transform; a chain in a chain is one chain.
    chain = make_pipeline(make_pipeline(Center()), make_pipeline(LengthNorm(), Cosine()))
    chain.fit(X + 3, y)
    new, labels = vectors(seed=2)
    centred = new - np.mean(X + 3, axis=0)
    unit = centred / np.linalg.norm(centred, axis=1)[:, None]
    labels = np.char.add("n", labels)
    found = VerificationScorer()(chain, new, labels)
    assert found == pytest.approx(-eer(*by_hand(unit @ unit.T, labels)))
    alone = VerificationScorer()(Cosine().fit(X), unit, labels)
    assert found == pytest.approx(alone)


def test_many_nontargets_are_drawn():
    X, y = vectors(40, 4)
    few = VerificationScorer(max_nontargets=500)
    products = Products()
    first = few(products, X, y)
    same = y[products.pairs_[0]] == y[products.pairs_[1]]
    assert (~same).sum() == 500 and same.sum() == 40 * 6
    assert first == few(Products(), X, y)
    assert first == pytest.approx(VerificationScorer()(Products(), X, y), abs=0.03)


def test_scorer_in_a_search_is_copied_and_told():
    X, y = vectors(30, 6)
    for scorer in (VerificationScorer("eer"), VerificationScorer("act_dcf", p_target=0.1)):
        assert repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)
    chain = make_pipeline(Center(), LengthNorm(), PLDA())
    scoring = {"eer": VerificationScorer("eer"), "cllr": VerificationScorer("cllr")}
    search = GridSearchCV(
        chain, {"plda__smoothing": [0.0, 0.5]}, scoring=scoring, refit="eer", cv=GroupKFold(3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", DegenerateDataWarning)
        found = clone(search).fit(X, y, groups=y).cv_results_
    assert (found["mean_test_eer"] < 0).all() and (found["mean_test_cllr"] < 0).all()
    with pytest.warns(DegenerateDataWarning, match="are also those of training"):
        cross_val_score(chain, X, y, scoring=VerificationScorer(), cv=3)


def test_wrong_use_is_named():
    X, y = vectors(4, 2)
    for arguments, message in (
        ({"metric": "accuracy"}, "there are eer"),
        ({"p_target": 2}, "between 0 and 1"),
        ({"max_nontargets": 0}, "max_nontargets"),
    ):
        with pytest.raises(UsageError, match=message):
            VerificationScorer(**arguments)
    with pytest.raises(UsageError, match="Center scores no trials"):
        VerificationScorer()(Center().fit(X), X, y)
    with pytest.raises(DataError, match="no nontarget trials"):
        VerificationScorer()(Products(), X[:2], y[:2])
    with pytest.raises(DataError, match="no target trials"):
        VerificationScorer()(Products(), X[::2], y[::2])


def ivectors(corpora):
    """i-vectors (N, 60) of speechocean762, speakers, and which are trained on (fold 0)."""
    root = corpora / "speechocean762"
    lines = (root / "protocol" / "fold0" / "train.utt2spk").read_text().splitlines()
    train = {line.split()[0] for line in lines}
    paths = sorted(root.glob("[0-9]*/*.flac"))

    def frames(path):
        static = MFCC(sample_frequency=16000, num_ceps=20).transform(read_audio(path, 16000)[0])
        return FrontEnd().apply(static, EnergyVAD(vad_energy_threshold=5.5).transform(static))

    features = [frames(path) for path in paths]
    is_train = np.array([path.stem in train for path in paths])
    learn = [part for part, chosen in zip(features, is_train) if chosen]
    ubm = DiagonalGMM(32, random_state=0).fit(np.concatenate(learn)[::4])
    extractor = TotalVariability(60, n_iter=4, update_covariance=False, random_state=0)
    extractor.fit(baum_welch(ubm, learn), ubm=ubm)
    found = extractor.transform(baum_welch(ubm, features))
    return found, np.array([path.parent.name for path in paths]), is_train


@pytest.mark.slow
def test_search_chooses_what_verifies_best_on_speechocean762(corpora):
    X, y, is_train = ivectors(corpora)
    chain = make_pipeline(Center(), LDA(), LengthNorm(), PLDA())
    sizes = [2, 10, 20, 30, 40, 45]
    search = GridSearchCV(
        chain, {"lda__n_components": sizes}, scoring=VerificationScorer("eer"), cv=GroupKFold(4)
    ).fit(X[is_train], y[is_train], groups=y[is_train])
    held, speakers = X[~is_train], np.unique(y[~is_train], return_inverse=True)[1]
    i, j = np.triu_indices(len(held), 1)
    intervals = {}
    for size in sizes:
        fitted = clone(chain).set_params(lda__n_components=size).fit(X[is_train], y[is_train])
        scores = fitted[-1].score_trials(*[fitted[:-1].transform(held)] * 2, i, j)
        sides = speakers[i], speakers[j]
        found = bootstrap_interval(scores, sides[0] == sides[1], *sides, n_bootstrap=200)
        intervals[size] = found.eer
    best = min(intervals.values(), key=lambda interval: interval.estimate)
    chosen = search.best_params_["lda__n_components"]
    assert intervals[chosen].estimate <= best.high
    assert intervals[2].estimate > best.high  # so that a search could have failed
