"""Scores of every kind for the property tests, and definitions of the curves written out."""

import itertools

import numpy as np
from hypothesis import strategies as st

_REALS = st.floats(-5, 5)
_FEW = st.integers(-3, 3).map(float)  # makes ties
_EDGES = st.sampled_from([-np.inf, -1.0, 0.0, 1.0, np.inf])
_CLOSE = st.integers(0, 3).map(lambda n: 1 + n * np.finfo(float).eps)


def _pair(values, size=25):
    side = st.lists(values, min_size=1, max_size=size)
    return st.tuples(side, side)


def _shifted(by):
    return lambda pair: ([score + by for score in pair[0]], pair[1])


FINITE = st.one_of(
    _pair(_REALS),
    _pair(_FEW),
    _pair(st.one_of(_REALS, _FEW)),
    _pair(_FEW).map(_shifted(20)),  # separable
    _pair(_FEW).map(_shifted(-20)),  # the wrong way round
    _pair(st.just(1.5), 4),  # constant
    _pair(_CLOSE, 6),
    _pair(_REALS, 1),
)
ANY = st.one_of(FINITE, _pair(_EDGES, 8))


def rates(tar, non):
    """(P_miss, P_fa) for every threshold at which something changes, and one beyond all scores."""
    tar, non = np.asarray(tar), np.asarray(non)
    points = [(np.mean(tar < t), np.mean(non >= t)) for t in sorted({*tar, *non})]
    return [*points, (1.0, 0.0)]


def hull_of(tar, non):
    """Vertices of the lower hull: points strictly below every chord across them.

    Decided in whole numbers of errors.
    """
    n_tar, n_non = len(tar), len(non)
    points = [(round(m * n_tar), round((1 - f) * n_non)) for m, f in rates(tar, non)]

    def below(point, before, after):
        (y, x), (y1, x1), (y2, x2) = point, before, after
        return (x - x1) * (y2 - y1) > (y - y1) * (x2 - x1)

    kept = [
        point
        for k, point in enumerate(points)
        if all(below(point, *pair) for pair in itertools.product(points[:k], points[k + 1 :]))
    ]
    return [(y / n_tar, 1 - x / n_non) for y, x in kept]


def isotonic_means(tar, non):
    """Posterior of each distinct score by the max-min formula of isotonic regression, and counts.

    R. Barlow et al., "Statistical inference under order restrictions", 1972.
    """
    groups = sorted({*tar, *non})
    hits = np.array([tar.count(s) for s in groups])
    sizes = hits + [non.count(s) for s in groups]
    n = len(groups)

    def mean(a, b):
        return hits[a : b + 1].sum() / sizes[a : b + 1].sum()

    found = [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    return groups, np.array(found), hits, sizes - hits
