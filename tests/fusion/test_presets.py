"""Operating points: their numbers, their words, and what is no operating point."""

import math

import pytest

import fusion
from fusion.metrics.points import PRESETS, OperatingPoint, named_points, parse_points
from ivector.base.errors import UsageError


def test_numbers_of_a_point():
    point = OperatingPoint(0.01, 10, 1)  # NIST SRE 2008: accept from ln(0.99 / 0.1) on
    assert point.threshold == pytest.approx(math.log(9.9))
    assert point.prior == pytest.approx(0.1 / 1.09)
    assert point.label == "P_tar 0.01, C_miss 10, C_fa 1"
    assert point.statement == "P_tar 0.01, C_miss 10, C_fa 1: accept from llr 2.293 on"
    assert OperatingPoint(0.5).threshold == 0 and OperatingPoint(0.05).label == "P_tar 0.05"
    # The effective prior alone decides alike.
    assert OperatingPoint(point.prior).threshold == pytest.approx(point.threshold)


@pytest.mark.parametrize("numbers", [(0,), (1,), (-0.1,), (math.nan,), (0.5, 0), (0.5, 1, -1),
                                     (0.5, math.inf), (0.5, 1, math.nan), (1e-320,),
                                     (0.5, 1e200, 1e-200)])  # fmt: skip
def test_impossible_points(numbers):
    with pytest.raises(UsageError):
        OperatingPoint(*numbers)
    with pytest.raises(UsageError):
        parse_points([":".join(map(str, [*numbers, 1, 1][:3]))])


def test_words():
    assert parse_points(["0.01"]) == [OperatingPoint(0.01)]
    assert parse_points(["0.01:10:1", ".5"]) == [*PRESETS["sre08"], OperatingPoint(0.5)]
    # What two words name is there once, in the order first named.
    assert [p.p_target for p in parse_points(["0.001", "SRE16", "voxceleb"])] == [
        0.001, 0.01, 0.005
    ]  # fmt: skip
    assert named_points("sre21") == (OperatingPoint(0.01), OperatingPoint(0.05))
    assert named_points([OperatingPoint(0.1)]) == [OperatingPoint(0.1)]
    assert len(PRESETS) == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sre99"], "one of sre08, sre10"),
        (["0.01:2"], "is no operating point"),
        (["0.01:1:1:1"], "is no operating point"),
        ([""], "is no operating point"),
        (["1"], "between 0 and 1"),
        (["0.1", "0.1"], "twice"),
    ],
)
def test_wrong_words(words, message):
    with pytest.raises(UsageError, match=message):
        parse_points(words)


def test_public_names():
    assert fusion.PRESETS is PRESETS and fusion.parse_points is parse_points
    assert {"ece", "bayes_error", "c_primary", "top_k_accuracy", "fnir_at_fpir"} <= set(dir(fusion))
