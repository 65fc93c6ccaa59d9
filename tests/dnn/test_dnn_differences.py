"""Differences of systems on the same tests: what their intervals hold, and what is refused."""

import numpy as np
import pytest

from dnn.identification.differences import extremes, independent_difference, paired_difference
from dnn.identification.identifier import wilson_interval
from ivector.base.errors import DataError


def counts(right, tests):
    share = float(np.sum(right) / np.sum(tests))
    pairs = zip(right, tests)
    return {
        "top1": share,
        "by_speaker": {f"s{i}": [int(r), int(n)] for i, (r, n) in enumerate(pairs)},
    }


def answers(rng, n_speakers, n_each, gain):
    """Right or not by two systems (2, n_speakers, n_each); tests and speakers are hard for both."""
    hard = rng.normal(0.0, 1.0, (n_speakers, 1)) + rng.normal(0.0, 1.5, (n_speakers, n_each))
    gains = np.stack([np.full((n_speakers, 1), 0.0), rng.normal(gain, 0.4, (n_speakers, 1))])
    return rng.logistic(size=(2, n_speakers, n_each)) < gains - hard


@pytest.mark.parametrize(("n_speakers", "n_each"), [(6, 3), (50, 3), (30, 20)])
def test_the_interval_holds_the_difference_in_19_of_20_tests(n_speakers, n_each):
    rng = np.random.default_rng(0)
    one, two = answers(rng, 200_000, 1, 0.4)
    truth = two.mean() - one.mean()
    held, widths = [], []
    for _ in range(600):
        tests = [counts(a.sum(axis=1), np.full(n_speakers, n_each))
                 for a in answers(rng, n_speakers, n_each, 0.4)]  # fmt: skip
        found = paired_difference(tests[1], tests[0])
        held.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
    assert 0.925 < np.mean(held) < 0.99
    shares = wilson_interval(round(0.5 * n_speakers * n_each), n_speakers * n_each)
    apart = np.hypot(*2 * [shares[1] - shares[0]])
    assert n_speakers < 10 or np.mean(widths) < apart  # pairing tells more than two intervals


def test_a_difference_changes_its_sign_with_the_order():
    one, two = counts([9, 5, 7], [10, 10, 8]), counts([6, 6, 5], [10, 10, 8])
    forth, back = paired_difference(one, two), paired_difference(two, one)
    assert forth.share == 4 / 28
    np.testing.assert_allclose(forth, (-back.share, -back.high, -back.low))


def test_equal_counts_of_all_speakers_are_no_certainty():
    found = paired_difference(counts([3] * 5, [3] * 5), counts([2] * 5, [3] * 5))
    assert found.high - found.low > 0.2 and found.beyond_chance
    same = paired_difference(counts([3, 3], [3, 3]), counts([3, 3], [3, 3]))
    assert same.low < 0 < same.high and not same.beyond_chance


def test_the_best_of_many_is_judged_as_such():
    tests = [counts(right, [20] * 6) for right in ([12] * 6, [9, 11, 9, 11, 9, 10], [11] * 6)]
    best, worst, found = extremes(tests)
    alone = paired_difference(tests[0], tests[1])
    assert (best, worst) == (0, 1) and found.share == alone.share
    assert found.low < alone.low and found.high > alone.high


def test_independent_shares_part_where_newcombe_s_do():
    """The example of R. G. Newcombe, 1998, table II (a): 56/70 and 48/80."""
    found = independent_difference(
        56 / 70, wilson_interval(56, 70), 48 / 80, wilson_interval(48, 80)
    )
    np.testing.assert_allclose(found, (0.2, 0.0524, 0.3339), atol=5e-5)


def test_other_tests_are_not_compared():
    one = counts([3, 3], [4, 4])
    for other in (counts([3, 3], [4, 5]), counts([3, 3, 3], [4, 4, 4])):
        with pytest.raises(DataError, match="tested on different sets"):
            paired_difference(one, other)
    with pytest.raises(DataError, match="one speaker"):
        paired_difference(counts([3], [4]), counts([2], [4]))
