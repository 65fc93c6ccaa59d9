"""Forensic validation of a system's llr, as a record.

What the "Consensus on validation of forensic voice comparison" (G. Morrison et al., Science &
Justice 61, 2021) asks to be shown, and its sampling error: speakers are drawn, not trials. The
calibrations that are compared are learnt by cross-validation over speakers, so that no llr is of a
calibration that saw either speaker.

Dimension legend: N trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.crossval import cross_validate
from fusion.calibration.one_system import Calibration
from fusion.calibration.wording import taken_for_another
from fusion.comparison.conditions import groups_of
from fusion.forensic.measures import (
    Bounds,
    dev_pav_of,
    elub_of,
    invariance_bounds_of,
    mean_distance_of,
    misleading_rates_of,
    refuse_infinite,
)
from fusion.forensic.overestimation import llr_overestimation
from fusion.forensic.shares import share_interval
from fusion.intervals.bootstrap import BootstrapResult, bootstrap_interval
from fusion.intervals.paired import paired_bootstrap
from fusion.intervals.replicates import checked_trials
from fusion.intervals.results import Interval, ends
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.order import order
from ivector.base.errors import DataError, DegenerateDataWarning

Record = dict[str, Any]
UNIT = "natural logarithm"
FACTORS = (1.0, 10.0, 100.0, 1000.0)
LEVEL = 0.95
LOGISTIC, BIGAUSSIAN = "logistic", "bi-Gaussianised"
_METRICS = ("cllr", "min_cllr", "eer")


@dataclass(frozen=True)
class _Trials:
    """Trials of a system, or a part of them, and how they are drawn."""

    llr: np.ndarray
    target: np.ndarray
    enrol: np.ndarray
    test: np.ndarray
    shared: bool
    n_bootstrap: int
    seed: int

    def part(self, chosen: np.ndarray) -> _Trials:
        """Some of the trials."""
        names = ("llr", "target", "enrol", "test")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def curve(self) -> OperatingPoints:
        """Their errors at every threshold."""
        return OperatingPoints(self.llr[self.target], self.llr[~self.target], keep=True)

    def bootstrap(self) -> BootstrapResult | None:
        """Intervals of the metrics, if any are asked for."""
        if not self.n_bootstrap:
            return None
        return bootstrap_interval(
            self.llr, self.target, self.enrol, self.test, shared=self.shared, llr=True,
            n_bootstrap=self.n_bootstrap, level=LEVEL, random_state=self.seed,
        )  # fmt: skip


def validate(
    llr: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
    conditions: Mapping[str, ArrayLike] | None = None,
    n_bootstrap: int = 1000,
    n_folds: int = 5,
    random_state: int = 0,
) -> Record:
    """Validate the llr of a system on trials of known speakers.

    Parameters
    ----------
    llr : array-like (N,)
        Natural logarithms.
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int
        Numbers from 0 of the speaker of either side.
    shared : bool
        Whether both sides number the same speakers, as in `bootstrap_interval`.
    conditions : mapping of str to array-like (N,), optional
        Columns of the trials, to validate parts of them: categories, or numbers, which are cut into
        quarters.
    n_bootstrap : int
        Replicates of the intervals of Cllr, min Cllr, EER and of their differences; 0 gives none.
    n_folds : int
        Parts of the speakers in cross-validation of calibrations; 0 compares none.
    random_state : int

    Returns
    -------
    dict
        Plain numbers, lists and texts: ``unit``, ``trials``, ``metrics``, ``dev_pav``,
        ``mean_distance`` (from PAV, over the trials), ``elub``,
        ``invariance``, ``beyond`` (share of the trials beyond the ELUB), ``overestimation``,
        ``misleading``, ``calibrations``, ``difference``, ``conditions``, ``cautions``.

    Raises
    ------
    DataError
        Llr that are not finite, a class with fewer than 10 trials, or speakers too few for
        intervals or folds.
    UsageError
        Too few replicates or folds.

    Examples
    --------
    >>> from fusion.example import simulate
    >>> from fusion.forensic import validate
    >>> part = simulate(n_speakers=40)
    >>> llr = part.scores["plda"] / 4 + 2.5
    >>> found = validate(llr, part.target, *part.sides, n_bootstrap=0)
    >>> [round(bound, 1) for bound in found["elub"]]
    [-3.7, 5.3]
    """
    (values,), target, *sides = checked_trials([llr], is_target, enrol_speaker, test_speaker)
    refuse_infinite(values, "llr")
    if not np.ptp(values):
        raise DataError(f"all {len(values)} llr are {values[0]:g}, which is no evidence")
    trials = _Trials(values, target, sides[0], sides[1], shared, n_bootstrap, random_state)
    found = _measured(trials)
    found |= _calibrations(trials, found, n_folds)
    found["conditions"] = [
        _condition(name, np.asarray(column), trials) for name, column in (conditions or {}).items()
    ]
    found["cautions"] = _cautions(trials, found)
    return {"unit": UNIT, "level": LEVEL, **found}


def _measured(trials: _Trials) -> Record:
    """All measures of the llr of some trials."""
    curve = trials.curve()
    elub, invariance = elub_of(curve), invariance_bounds_of(curve)
    drawn = trials.bootstrap()
    return {
        "trials": {
            "trials": len(trials.target),
            "targets": curve.n_targets,
            "nontargets": curve.n_nontargets,
        },
        "metrics": {
            name: _number(getattr(curve, name)(), drawn.intervals[name, 0] if drawn else None)
            for name in _METRICS
        },
        "dev_pav": dev_pav_of(curve),
        "mean_distance": mean_distance_of(curve),
        "elub": list(elub),
        "invariance": list(invariance),
        "beyond": float(np.mean((trials.llr < elub.lower) | (trials.llr > elub.upper))),
        "overestimation": _overestimation(trials),
        "misleading": _misleading(trials, curve),
    }


def _number(estimate: float, interval: Interval | None) -> Record:
    return {"estimate": float(estimate), **ends(interval)}


def _overestimation(trials: _Trials) -> Record | None:
    """Overestimation over the range of llr; None where the classes do not overlap, or are tied."""
    try:
        found = llr_overestimation(
            trials.llr[trials.target], trials.llr[~trials.target], random_state=trials.seed
        )
    except DataError:
        return None
    return {
        "mean_absolute": found.mean_absolute,
        "share_certain": found.share_certain,
        **{name: values.tolist() for name, values in found._asdict().items()},
    }


def _misleading(trials: _Trials, curve: OperatingPoints) -> list[Record]:
    """Rates of misleading evidence of either class, with intervals over speakers."""
    rates = misleading_rates_of(curve, FACTORS)
    rows, most = [], {"targets": 1.0, "nontargets": 1.0}
    for n, factor in enumerate(FACTORS):
        row: Record = {"factor": factor}
        for name, chosen, hit, share in (
            ("targets", trials.target, trials.llr < -math.log(factor), rates.targets[n]),
            ("nontargets", ~trials.target, trials.llr > math.log(factor), rates.nontargets[n]),
        ):
            sides = trials.enrol[chosen], trials.test[chosen]
            interval = share_interval(hit[chosen], *sides, trials.shared, LEVEL)
            # What misleads by more is rarer than what misleads by less, as far as that is known.
            most[name] = min(most[name], interval.high)
            row[name] = _number(share, replace(interval, high=most[name])) | {
                "count": int(hit[chosen].sum())
            }
        rows.append(row)
    return rows


def _calibrations(trials: _Trials, given: Record, n_folds: int) -> Record:
    """What recalibration by either method is worth on speakers that it has not seen."""
    if not n_folds:
        return {"calibrations": [], "difference": None}
    models = {LOGISTIC: Calibration(), BIGAUSSIAN: Calibration("bigaussian")}
    llr = {
        name: cross_validate(
            model, trials.llr, trials.target, trials.enrol, trials.test, n_folds=n_folds,
            random_state=trials.seed,
        )
        for name, model in models.items()
    }  # fmt: skip
    rows = [{"calibration": "as given", **_row(given)}]
    for name, values in llr.items():
        rows.append({"calibration": name, **_row(_measured(replace(trials, llr=values)))})
    difference = None
    if trials.n_bootstrap:
        paired = paired_bootstrap(
            llr[LOGISTIC], llr[BIGAUSSIAN], trials.target, trials.enrol, trials.test,
            shared=trials.shared, llr=True, n_bootstrap=trials.n_bootstrap, level=LEVEL,
            random_state=trials.seed,
        ).differences["cllr", 0]  # fmt: skip
        difference = _number(paired.b - paired.a, paired.interval) | {"p_value": paired.p_value}
    return {"calibrations": rows, "difference": difference}


def _row(found: Record) -> Record:
    """What is shown of a system, a calibration or a part in one line."""
    return {
        "cllr": found["metrics"]["cllr"],
        "min_cllr": found["metrics"]["min_cllr"],
        "dev_pav": found["dev_pav"],
        "elub": found["elub"],
        "misleading": found["misleading"][0],
    }


def _condition(name: str, column: np.ndarray, trials: _Trials) -> Record:
    """The measures on each part of the trials; parts too small for them are named."""
    parts = []
    for value, chosen in groups_of(name, column, len(trials.target)):
        part = trials.part(chosen)
        targets = int(part.target.sum())
        sizes = {"value": value, "trials": len(chosen), "targets": targets}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DegenerateDataWarning)
                row: Record | None = _row(_measured(part))
        except DataError:  # a class, or the speakers, are too few
            row = None
        parts.append({**sizes, "measures": row})
    return {"condition": name, "parts": parts}


def _cautions(trials: _Trials, found: Record) -> list[str]:
    """What the numbers themselves warn of."""
    texts = []
    if hint := taken_for_another(trials.llr, trials.target):
        texts.append(hint)
    slope = float(Calibration().fit(trials.llr, trials.target).coef_[0])
    found_order = order(trials.curve())
    if found_order.turned:
        texts.append(f"The llr are turned: {found_order.words} of cases; turn their sign.")
    elif slope <= 0:
        texts.append(
            "A few llr far out rule logistic calibration, which would turn all of them, though "
            f"{found_order.words} of cases."
            if found_order.higher
            else "The llr are not shown to be higher for one person than for two."
        )
    cllr = found["metrics"]["cllr"]
    if (cllr["estimate"] if cllr["low"] is None else cllr["low"]) > 1:
        texts.append("With a Cllr of more than 1, the llr are worth less than none.")
    elif max(cllr["estimate"], cllr["high"] or 0) >= 1:
        texts.append("The llr are not shown to be worth more than none: Cllr may be 1.")
    if found["elub"] == list(Bounds(0.0, 0.0)):
        texts.append("The trials support no llr as given, on either side of 0.")
    return texts
