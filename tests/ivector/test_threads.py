"""Models are the same bytes on any number of cores."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from ivector import DiagonalGMM, FullGMM, TotalVariability
from ivector.statistics import baum_welch
from plda import LDA, PLDA, WCCN
from plda.models.adaptation import adapt_plda


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(12000, 20)) @ rng.normal(size=(20, 20))).astype(np.float32)


def train(frames):
    diagonal = DiagonalGMM(16, random_state=0, n_iter=2).fit(frames)
    full = FullGMM(init=diagonal, n_iter=1).fit(frames)
    stats = baum_welch(full, list(frames.reshape(120, 100, 20)), second_order=True)
    extractor = TotalVariability(40, random_state=0, n_iter=2).fit(stats, ubm=full)
    return diagonal.means_, full.covariances_, extractor.projections_, extractor.transform(stats)


def test_the_number_of_threads_changes_no_back_end():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(300), 8)
    X = rng.normal(size=(300, 160))[y] + rng.normal(size=(2400, 160))
    found = []
    for threads in (1, 4):
        with threadpool_limits(threads):
            plda = PLDA(n_iter=2).fit(X, y)
            found.append([WCCN().fit(X, y).projection_, LDA(90).fit(X, y).projection_])
            found[-1] += [plda.transform_, adapt_plda(plda, 2 * X).transform_]
    for one, several in zip(*found):
        np.testing.assert_array_equal(one, several)


def test_the_number_of_threads_changes_no_byte(frames):
    found = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            found.append(train(frames))
    for one, several in zip(*found):
        np.testing.assert_array_equal(one, several)
