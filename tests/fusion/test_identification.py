"""Identification against definitions written out: loops over tests, orders and thresholds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from fusion.intervals import identification as intervals
from fusion.metrics import identification as ident
from ivector.base.errors import DataError, UsageError

CASES = settings(max_examples=100, deadline=None)
# Few values make ties; -inf stands for a model that was not scored.
VALUES = st.one_of(st.integers(0, 2).map(float), st.floats(-2, 2), st.just(-np.inf))


@st.composite
def searches(draw, unknown=True):
    n_tests, n_models = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    row = st.lists(VALUES, min_size=n_models, max_size=n_models)
    scores = np.array(draw(st.lists(row, min_size=n_tests, max_size=n_tests)))
    least = -1 if unknown else 0
    label = st.integers(least, n_models - 1)
    labels = draw(st.lists(label, min_size=n_tests, max_size=n_tests))
    return scores, labels


def orders(row):
    """All ways of ranking models by score, those of equal score in any order."""
    groups = [
        [m for m in range(len(row)) if row[m] == value] for value in sorted(set(row), reverse=True)
    ]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [m for part in parts for m in part]


def share_in_top(row, own, k):
    every = list(orders(row))
    return sum(own in order[:k] for order in every) / len(every)


@CASES
@given(searches(unknown=False))
def test_top_k_is_the_mean_over_all_orders(case):
    scores, labels = case
    n_models = scores.shape[1]
    for k in range(1, n_models + 1):
        expected = np.mean([share_in_top(r, own, k) for r, own in zip(scores.tolist(), labels)])
        assert ident.top_k_accuracy(scores, labels, k) == pytest.approx(expected, abs=1e-9)
    assert ident.top_k_accuracy(scores, labels, n_models) == 1


@CASES
@given(searches(unknown=False))
def test_confusion_counts_what_is_highest(case):
    scores, labels = case
    n = scores.shape[1]
    expected = np.zeros((n, n))
    for row, own in zip(scores.tolist(), labels):
        every = list(orders(row))
        for order in every:
            expected[own, order[0]] += 1 / len(every)
    models, counts = ident.confusion(scores, labels)
    np.testing.assert_array_equal(models, np.arange(n))
    np.testing.assert_allclose(counts, expected, atol=1e-9)
    right = ident.top_k_accuracy(scores, labels)
    assert counts.trace() / len(labels) == pytest.approx(right, abs=1e-9)


def test_same_as_scikit_learn():
    rng = np.random.default_rng(0)
    names = np.array(["eve", "ann", "bob", "dan"])
    labels = rng.integers(0, 4, 300)
    scores = rng.normal(size=(300, 4)) + np.eye(4)[labels]
    for k in (1, 2, 3):
        assert ident.top_k_accuracy(scores, labels, k) == top_k_accuracy_score(
            labels, scores, k=k, labels=range(4)
        )
    found = ident.confusion(scores, names[labels], models=list(names))
    assert found.models.tolist() == ["ann", "bob", "dan", "eve"]
    expected = confusion_matrix(names[labels], names[scores.argmax(axis=1)])
    np.testing.assert_array_equal(found.counts, expected)
    assert ident.top_k_accuracy(scores.astype("f4"), names[labels], models=names) == pytest.approx(
        np.mean(scores.argmax(axis=1) == labels)
    )


def open_set_rates(scores, labels, threshold, rank):
    """FPIR and FNIR of searches that return models from a threshold on, at most `rank` of them."""
    false_positives, misses = [], []
    for row, own in zip(scores.tolist(), labels):
        if own < 0:
            false_positives.append(any(score >= threshold for score in row))
        else:
            found = row[own] >= threshold
            misses.append(1 - found * share_in_top(row, own, rank or len(row)))
    return np.mean(false_positives), np.mean(misses)


@CASES
@given(searches(), st.sampled_from([None, 1, 2]))
def test_open_set_is_a_loop_over_thresholds(case, rank):
    scores, labels = case
    if rank and rank > scores.shape[1]:
        rank = None
    if -1 not in labels or max(labels) < 0:
        with pytest.raises(DataError, match="needs both kinds"):
            ident.identification_curve(scores, labels)
        return
    curve = ident.identification_curve(scores, labels, rank=rank)
    assert curve.thresholds[-1] == np.inf and (np.diff(curve.thresholds) > 0).all()
    for threshold, fpir, fnir in zip(curve.thresholds, curve.fpir, curve.fnir):
        expected = open_set_rates(scores, labels, threshold, rank)
        assert (fpir, fnir) == pytest.approx(expected, abs=1e-9)
    every = [open_set_rates(scores, labels, t, rank) for t in [*set(scores.ravel()), np.inf]]
    for limit in (0, 0.1, 1 / 3, 0.5, 2 / 3, 1):
        least = min(fnir for fpir, fnir in every if fpir <= limit + 1e-12)
        found = ident.fnir_at_fpir(scores, labels, limit, rank=rank)
        assert found == pytest.approx(least, abs=1e-9)


def test_names_and_nobody():
    scores = [[3, 0], [0, 2], [1, 1], [0, 9]]
    expected = ident.identification_curve(scores, [0, 1, -1, -1])
    for nobody in (None, -1):
        labels = ["a", "b", nobody, nobody]
        for got, want in zip(
            ident.identification_curve(scores, labels, models=["a", "b"]), expected
        ):
            np.testing.assert_array_equal(got, want)
    assert ident.fnir_at_fpir(scores, [0, 1, -1, -1], 0.5) == 0
    assert ident.fnir_at_fpir(scores, [0, 1, -1, -1], 0.0) == 1
    mixed = ident.confusion([[1, 0], [0, 1]], [("x", 1), ("y", 2)], models=[("x", 1), ("y", 2)])
    assert mixed.counts.tolist() == [[1, 0], [0, 1]]


GOOD = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("scores", "labels", "options", "message"),
    [
        ([1.0], [0], {}, "give \\(n_tests, n_models\\)"),
        (np.empty((0, 3)), [], {}, "give \\(n_tests, n_models\\)"),
        ([["a"]], [0], {}, "not numbers"),
        ([[1.0, np.nan]], [0], {}, "first of test 0, model 1"),
        (GOOD, [0], {}, "labels of shape"),
        (GOOD, [0, 2], {}, "labels from 0 to 2 of 2 models"),
        (GOOD, [0, -2], {}, "labels from -2 to 0"),
        (GOOD, ["a", "b"], {}, "names of the models"),
        (GOOD, [0.0, 1.0], {}, "columns of the scores"),
        (GOOD, ["a", "b"], {"models": ["a"]}, "1 names of models but scores of 2"),
        (GOOD, ["a", "b"], {"models": ["a", "a"]}, "'a' is there twice"),
        (GOOD, ["a", "c"], {"models": ["a", "b"]}, "label 'c' is the name of no model"),
        (GOOD, [["a"], ["b"]], {"models": ["a", "b"]}, "give one name for each"),
    ],
)
def test_bad_tables(scores, labels, options, message):
    for function in (ident.top_k_accuracy, ident.confusion, ident.identification_curve):
        with pytest.raises(DataError, match=message):
            function(scores, labels, **options)


def test_bad_usage():
    with pytest.raises(DataError, match="1 of 2 tests are of speakers not enrolled"):
        ident.top_k_accuracy(GOOD, [0, -1])
    for k in (0, 3):
        with pytest.raises(UsageError, match="from 1 to the number of models, 2"):
            ident.top_k_accuracy(GOOD, [0, 1], k)
        with pytest.raises(UsageError, match="from 1 to the number of models, 2"):
            ident.fnir_at_fpir(GOOD, [0, -1], 0.1, rank=k)
    for rate in (-0.1, 1.1, np.nan):
        with pytest.raises(UsageError, match="from 0 to 1"):
            ident.fnir_at_fpir(GOOD, [0, -1], rate)


@CASES
@given(searches(), st.sampled_from([None, 1]), st.integers(0, 99))
def test_weighted_fnir_is_that_of_copied_tests(case, rank, seed):
    scores, labels = case
    if -1 not in labels or max(labels) < 0:
        return
    rng = np.random.default_rng(seed)
    speaker = rng.integers(0, 3, len(labels))
    draws = rng.integers(0, 3, (5, 3))
    found = ident.open_set(scores, labels, rank=rank)
    for limit in (0, 0.3, 0.5, 1):
        got = intervals.weighted_fnir(found, speaker, draws, limit)
        for value, draw in zip(got, draws):
            copies = np.repeat(np.arange(len(labels)), draw[speaker])
            copied = np.array(labels)[copies]
            if -1 not in copied or max(copied) < 0:
                assert np.isnan(value)
                continue
            expected = ident.fnir_at_fpir(scores[copies], copied, limit, rank=rank)
            assert value == pytest.approx(expected, abs=1e-9)


def simulated(n_speakers=40, n_tests=6, seed=0):
    """Tests of speakers, half of them enrolled, whose tests are good or bad together."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(n_speakers), n_tests)
    labels = np.where(speaker < n_speakers // 2, speaker, -1)
    quality = rng.normal(0, 1.5, n_speakers)[speaker]
    scores = rng.normal(size=(len(speaker), n_speakers // 2))
    own = labels >= 0
    scores[own, labels[own]] += 2 + quality[own]
    return scores, labels, speaker


def test_intervals_draw_speakers():
    scores, labels, speaker = simulated()
    own = labels >= 0
    closed = intervals.top_k_interval(scores[own], labels[own], speaker[own])
    assert closed.estimate == ident.top_k_accuracy(scores[own], labels[own])
    assert closed.low < closed.estimate < closed.high
    alone = intervals.top_k_interval(scores[own], labels[own], np.arange(own.sum()))
    assert closed.high - closed.low > 1.2 * (alone.high - alone.low)
    names = np.array([f"s{n:02d}" for n in speaker])
    found = intervals.fnir_interval(scores, labels, names, 0.1)
    assert found.estimate == ident.fnir_at_fpir(scores, labels, 0.1)
    assert 0 < found.low < found.estimate < found.high < 1
    assert found == intervals.fnir_interval(scores, labels, speaker, 0.1)
    assert found != intervals.fnir_interval(scores, labels, speaker, 0.1, random_state=1)


def test_intervals_refuse():
    scores, labels, speaker = simulated(4, 1)
    with pytest.raises(DataError, match="speakers of shape"):
        intervals.fnir_interval(scores, labels, speaker[1:], 0.1)
    with pytest.raises(DataError, match="at least 2 speakers"):
        intervals.top_k_interval(GOOD, [0, 1], ["a", "a"])
    with pytest.raises(UsageError, match="20 replicates"):
        intervals.top_k_interval(GOOD, [0, 1], ["a", "b"], n_bootstrap=5)
    with pytest.raises(UsageError, match="from 0 to 1"):
        intervals.fnir_interval(scores, labels, speaker, 2)
