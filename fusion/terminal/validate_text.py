"""What `python -m fusion.validate` prints and writes: tables, cases with conclusions, JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusion.forensic.uncertainty import CalibrationUncertainty
from fusion.forensic.validation import LOGISTIC, UNIT
from fusion.forensic.verbal import SCALES, conclude, ratio_text
from fusion.forensic.words import TERMS, sentences, tables
from fusion.formats.speakers import TrialSpeakers
from fusion.formats.tables import Trials
from fusion.terminal.tables import print_table
from ivector.base.files import write_json, write_text

_SHOWN = 20  # trials of a case that are printed; --out has all
_HEAD = "enrol test given llr low high bayes_low bayes_high"


def factor(log10: bool) -> float:
    """What makes the llr given natural logarithms."""
    return math.log(10) if log10 else 1.0


@dataclass(frozen=True)
class Case:
    """Trials (N,) with their recalibrated llr.

    Parameters
    ----------
    trials : Trials
    given, llr : ndarray (N,)
        As given, and recalibrated; natural logarithms.
    interval, credible : ndarray (N, 2)
        Resampled and Bayesian intervals.
    bounds : list of float
        Lower and upper llr that the validation supports.
    scale : str
        Name of the verbal scale.
    learnt : CalibrationUncertainty
    """

    trials: Trials
    given: np.ndarray
    llr: np.ndarray
    interval: np.ndarray
    credible: np.ndarray
    bounds: list[float]
    scale: str
    learnt: CalibrationUncertainty

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Ids of either side of each trial."""
        for one, two in zip(self.trials.enrol, self.trials.test):
            yield self.trials.enrol_ids[one], self.trials.test_ids[two]

    def conclusion(self, n: int) -> str:
        """What one trial is worth, in words and numbers."""
        return conclude(
            float(self.llr[n]), interval=self.interval[n], bounds=self.bounds, scale=self.scale
        )

    def by_likelihood(self, n: int) -> str:
        """The Bayesian interval of one trial, and where it takes back what the words say."""
        low, high = self.credible[n]
        text = f"Bayesian 95 % interval {ratio_text(low)} to {ratio_text(high)}"
        if low < 0 < high and self.interval[n].min() * self.interval[n].max() > 0:
            text += ", which holds 1: it may speak for the other side"
        return f"{text}."


def recalibrated(
    learnt: CalibrationUncertainty,
    given: np.ndarray,
    trials: Trials,
    record: Mapping[str, Any],
    scale: str,
) -> Case:
    """Llr of trials by a calibration, within what its cross-validation supports."""
    (row,) = (row for row in record["calibrations"] if row["calibration"] == LOGISTIC)
    return Case(
        trials, given, learnt.llr(given), learnt.interval(given), learnt.credible(given),
        row["elub"], scale, learnt,
    )  # fmt: skip


def print_validation(
    records: Mapping[str, Mapping[str, Any]],
    told: TrialSpeakers,
    n_bootstrap: int,
    log10: bool,
) -> None:
    """Print the tables, what they say in short, and how they were made."""
    for table in tables(records):
        print(f"{table.caption}:")
        for name, rows in table.parts:
            if name and len(records) > 1:
                print(f"{name}:")
            print_table([table.head, *rows])
        print()
    for name, record in records.items():
        print("\n".join(sentences(name, record)))
    print("\n".join(f"{term}: {meaning}." for term, meaning in TERMS))
    how = f", {n_bootstrap} bootstrap replicates" if n_bootstrap else ""
    print(
        f"[ , ]: 95 % intervals{told.doubt} over {told.count} ({told.source}){how}. "
        f"Llr were read as {'decimal' if log10 else 'natural'} logarithms"
        f"{' and made natural' if log10 else '; --log10 takes them for decimal ones'}."
    )


def print_case(case: Case) -> None:
    """Print the conclusions of a case."""
    learnt = case.learnt
    low, high = map(ratio_text, case.bounds)
    print(
        f"\nrecalibrated: llr = {learnt.weight:.6g} x given {learnt.offset:+.6g}; so recalibrated, "
        f"the trials support LR from {low} to {high} (ELUB)"
    )
    for n, (one, two) in enumerate(case.pairs()):
        if n == _SHOWN:
            print(f"and {len(case.llr) - _SHOWN} more trials, which --out writes")
            break
        print(f"{one} {two}: {case.conclusion(n)} {case.by_likelihood(n)}")
    print(
        f"Words: {SCALES[case.scale].source}; they go by the first interval, of the calibration "
        "resampled over speakers; the Bayesian one draws llr towards 0 where trials are few. Both "
        "hold only if the speakers and recordings validated are like those of the case."
    )


def write_case(path: Path, case: Case) -> None:
    """Write a line for each trial: ids, llr as given and recalibrated, and intervals."""
    rows = np.column_stack([case.given, case.llr, case.interval, case.credible])
    lines = [
        f"{one} {two} {' '.join(f'{value:.6g}' for value in row)}"
        for (one, two), row in zip(case.pairs(), rows.tolist())
    ]
    write_text(path, "\n".join([_HEAD, *lines]) + "\n")


def write_record(
    path: Path,
    records: Mapping[str, Mapping[str, Any]],
    told: TrialSpeakers,
    n_bootstrap: int,
    seed: int,
    case: Case | None,
) -> None:
    """Write all numbers."""
    content: dict[str, Any] = {
        "unit": UNIT,
        "systems": records,
        "speakers": told.n_speakers,
        "speakers_at_most": told.at_most,
        "speakers_from": told.source,
        "trusted": told.trusted,
        "replicates": n_bootstrap,
        "seed": seed,
    }
    if case:
        content["case"] = {
            "weight": case.learnt.weight,
            "offset": case.learnt.offset,
            "bounds": case.bounds,
            "scale": case.scale,
            "trials": [_of_case(case, n, *ids) for n, ids in enumerate(case.pairs())],
        }
    write_json(path, content)


def _of_case(case: Case, n: int, one: str, two: str) -> dict[str, Any]:
    return {
        "enrol": one,
        "test": two,
        "given": float(case.given[n]),
        "llr": float(case.llr[n]),
        "interval": case.interval[n].tolist(),
        "credible": case.credible[n].tolist(),
        "conclusion": case.conclusion(n),
    }
