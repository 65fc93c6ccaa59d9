"""Simulated scores for tests of the report: speakers, two systems of llrs and one of scores."""

import numpy as np

from fusion.metrics.points import parse_points
from fusion.report.make import make_report

NAMES = ("GMM <b>&\"'", "i-vector | PLDA", "fused")
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'too' </style>"


def simulated(n_speakers=24, n_tests=4, seed=0):
    """Classes, speakers of both sides, scores of three systems, conditions."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(n_speakers)
    enrol = np.repeat(numbers, n_speakers * n_tests)
    test = np.tile(np.repeat(numbers, n_tests), n_speakers)
    target = enrol == test
    ease = rng.normal(0, 0.5, n_speakers)
    common = rng.normal(size=target.size)

    def llr(separation):
        noise = 0.6 * common + 0.8 * rng.normal(size=target.size) + ease[enrol] + ease[test]
        return separation * noise + np.where(target, 1, -1) * separation**2 / 2

    one, two = llr(2.0), llr(3.2)
    scores = dict(zip(NAMES, (0.01 * one + 5, 1.5 * two + 2, 0.8 * two)))
    conditions = {
        "gender <i>": np.where(enrol % 2, "male", "female & co").astype(object),
        "test_duration": np.tile(rng.gamma(4, 2, n_speakers * n_tests), n_speakers),
    }
    return target, enrol, test, scores, conditions


def report(**changes):
    """A report on `simulated` with everything that a report can hold."""
    target, enrol, test, scores, conditions = simulated()
    options = {
        "llr": NAMES[1:],
        "points": parse_points(["0.01", "0.05:10:1"]),
        "n_bootstrap": 60,
        "conditions": conditions,
        "title": HOSTILE,
        "commands": ["python -m fusion.fuse A=a.scores B=b.scores trials", f"echo {HOSTILE}"],
        "notes": ["Simulated scores.", HOSTILE],
        "speakers_from": "from utt2spk",
        **changes,
    }
    return make_report(target, enrol, test, scores, **options)
