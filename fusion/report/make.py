"""One page about systems that scored the same trials: how good, how sure, how well calibrated.

`make_report` measures every system under the same draws of speakers, compares each with the best,
and returns a `Report`, which gives the same findings as a self-contained HTML page, as Markdown and
as a record for JSON. The same input gives the same bytes.

Dimension legend: N trials.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.bootstrap import BootstrapResult
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint
from fusion.plots.det import RULE_OF, det_band
from fusion.report.numbers import LEVEL, Draw, Record, comparison, condition, numbers
from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import plain, write_json, write_text


@dataclass(frozen=True)
class Report:
    """What `make_report` found.

    Parameters
    ----------
    content : dict
        Everything as `record` gives it, before numbers that JSON lacks are put in words.
    systems : dict of str to OperatingPoints
        What the figures are drawn from.
    intervals : dict of str to BootstrapResult
        Bands of the DET curves; empty without a bootstrap.
    points : list of OperatingPoint

    Examples
    --------
    >>> from fusion import make_report
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=20)
    >>> report = make_report(part.target, *part.sides, {"plda": part.scores["plda"]}, n_bootstrap=0)
    >>> report.record()["trials"]["targets"], report.html()[:15]
    (120, '<!DOCTYPE html>')
    >>> report.write("report.html")  # and beside it report.md and report.json
    """

    content: Record
    systems: dict[str, OperatingPoints] = field(repr=False)
    intervals: dict[str, BootstrapResult] = field(repr=False)
    points: list[OperatingPoint]

    def record(self) -> Record:
        """All findings as what JSON holds; infinite numbers are the strings inf and -inf."""
        return plain(self.content)

    def markdown(self) -> str:
        """Tables and text, without figures."""
        from fusion.report.words import markdown

        return markdown(self.content)

    def html(self) -> str:
        """The page: one file without any outside part."""
        from fusion.report.figures import error_figures, histogram_figures, llr_figures
        from fusion.report.page import page

        llr = [row["system"] for row in self.content["systems"] if row["llr"]]
        figures = {
            "errors": error_figures(self.systems, self.points, self.intervals),
            "scores": histogram_figures(self.systems),
            "llr": llr_figures(self.systems, llr, self.points) if llr else [],
        }
        return page(self.content, figures)

    def write(self, path: str | os.PathLike) -> None:
        """Write the page to `path`, and beside it the Markdown (.md) and the record (.json).

        Raises
        ------
        UsageError
            `path` does not end in .html.
        DataError
            A file cannot be written.
        """
        path = html_path(path)
        write_text(path, self.html())
        write_text(path.with_suffix(".md"), self.markdown())
        write_json(path.with_suffix(".json"), self.content)


def html_path(path: str | os.PathLike) -> Path:
    """Path of a page; refuses another kind of file."""
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise UsageError(f"{path}: the report is a page; give a name that ends in .html")
    return path


def make_report(
    labels: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    systems: Mapping[str, ArrayLike],
    *,
    llr: Collection[str] = (),
    points: Sequence[OperatingPoint] = (OperatingPoint(0.01),),
    n_bootstrap: int = 1000,
    conditions: Mapping[str, ArrayLike] | None = None,
    title: str = "",
    commands: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    random_state: int = 0,
    shared: bool = True,
    speakers_from: str = "",
    at_most: bool = False,
    doubt: str = "",
    made: Mapping[str, str] | None = None,
    date: str = "",
    forensic: bool = False,
) -> Report:
    """Measure and compare systems on the same trials.

    Parameters
    ----------
    labels : array-like (N,) bool
        Whether a trial is a target trial.
    enrol_speaker, test_speaker : array-like (N,) int
        Numbers from 0 of the speaker of either side, which the bootstrap draws.
    systems : mapping of str to array-like (N,)
        Scores by the name of the system, in the order in which they are shown.
    llr : collection of str
        Systems whose scores are natural-log likelihood ratios, and are measured as such.
    points : sequence of OperatingPoint
    n_bootstrap : int
        Replicates of the intervals; 0 gives neither intervals nor comparisons.
    conditions : mapping of str to array-like (N,), optional
        Columns of the trials, to measure parts of them: categories, or numbers, which are cut
        into quarters.
    title : str
    commands : sequence of str
        How scores and report were made.
    versions : mapping of str to str, optional
        Of the software; default, this toolkit's and what it stands on.
    notes : sequence of str
        Cautions to the reader, beside those that the numbers give.
    random_state : int
    shared : bool
        Whether both sides number the same speakers, as in `bootstrap_interval`.
    speakers_from : str
        How the speakers were told, in words.
    at_most : bool
        Whether some of the speakers may be the same.
    doubt : str
        What to say of intervals that cannot be trusted, in words; empty of others.
    made : mapping of str to str, optional
        What else there is to say on how the scores were made: sizes, hardware, time.
    date : str
        Printed as it is; without it, the report has no date.
    forensic : bool
        Whether to add a chapter on forensic validation of the systems that `llr` names.

    Raises
    ------
    DataError
        A score is NaN, arrays differ in length, a class or the speakers are too few.
    UsageError
        No systems, `llr` names none of them, a point is given twice, or too few replicates.

    Examples
    --------
    >>> from fusion import make_report
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=20)
    >>> systems = {name: part.scores[name] for name in ("cosine", "plda")}
    >>> report = make_report(part.target, *part.sides, systems, n_bootstrap=50, title="Two systems")
    >>> print(report.markdown().splitlines()[0])
    # Two systems
    """
    _check_options(systems, llr, points, n_bootstrap)
    target, sides, scores = _checked(labels, enrol_speaker, test_speaker, systems)
    intervals: dict[str, BootstrapResult] = {}
    rows = []
    draw = Draw(target, sides[0], sides[1], shared, list(points), n_bootstrap, random_state)
    for name, values in scores.items():
        result = draw.bootstrap(values, name in llr, det_band())
        if result:
            intervals[name] = result
        curve = OperatingPoints(values[target], values[~target], keep=name in llr)
        row = {"system": name, "llr": name in llr, "grade": None}
        if name in llr:
            row["grade"] = vars(draw.grade(values, result))
        rows.append(row | numbers(curve, result, points, name in llr))
        del curve  # made again for the figures: it takes twice the memory of the scores
    speakers = np.unique(np.concatenate(sides)) if shared else None
    content: Record = {
        "title": title or "Speaker recognition report",
        "date": date,
        "trials": {
            "trials": len(target),
            "targets": int(target.sum()),
            "nontargets": int((~target).sum()),
            "speakers": len(speakers) if speakers is not None else None,
            "enrolled_speakers": len(np.unique(sides[0])),
            "test_speakers": len(np.unique(sides[1])),
            "speakers_from": speakers_from,
            "at_most": at_most,
            "doubt": doubt,
        },
        "points": [_point(point) for point in points],
        "bootstrap": {"replicates": n_bootstrap, "level": LEVEL, "seed": random_state}
        if n_bootstrap
        else None,
        "systems": rows,
        "comparison": comparison(rows, scores, draw),
        "conditions": [
            condition(name, np.asarray(column), scores, set(llr), draw)
            for name, column in (conditions or {}).items()
        ],
        "notes": list(notes),
        "commands": list(commands),
        "made": dict(made or {}),
        "versions": dict(library_versions() if versions is None else versions),
    }
    if forensic:
        content["forensic"] = _forensic(scores, llr, draw, conditions or {})
    measured = {name: OperatingPoints(v[target], v[~target]) for name, v in scores.items()}
    content["cautions"] = _cautions(content, measured, points)
    from fusion.report.words import summary

    content["summary"] = summary(content)
    return Report(content, measured, intervals, list(points))


def _forensic(
    scores: Mapping[str, np.ndarray],
    llr: Collection[str],
    draw: Draw,
    conditions: Mapping[str, ArrayLike],
) -> Record:
    """Validation of each system of likelihood ratios, by name."""
    from fusion.forensic.validation import validate

    if not llr:
        raise UsageError("forensic validation needs `llr`, the systems of likelihood ratios")
    found = {}
    for name in (name for name in scores if name in llr):
        with named(name):
            found[name] = validate(
                scores[name], draw.target, draw.enrol, draw.test, shared=draw.shared,
                conditions=conditions, n_bootstrap=draw.n_bootstrap, random_state=draw.seed,
            )  # fmt: skip
    return found


def library_versions() -> dict[str, str]:
    """Versions of this toolkit, Python, and the libraries that numbers and figures stand on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("ivector-plda", "numpy", "scipy", "numba", "matplotlib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return {"ivector-plda": found.pop("ivector-plda"), "Python": platform.python_version(), **found}


def _check_options(
    systems: Mapping[str, ArrayLike],
    llr: Collection[str],
    points: Sequence[OperatingPoint],
    n_bootstrap: int,
) -> None:
    if not systems:
        raise UsageError("nothing to report: no systems were given")
    if isinstance(llr, str):
        raise UsageError(f"llr takes a list of names of systems, got the string {llr!r}")
    unknown = [name for name in llr if name not in systems]
    if unknown:
        raise UsageError(
            f"llr names {unknown[0]!r}, which is none of the systems {', '.join(systems)}"
        )
    if len(set(points)) < len(points):
        raise UsageError("an operating point is given twice")
    if n_bootstrap and n_bootstrap < 20:
        raise UsageError(f"give at least 20 replicates or 0, got {n_bootstrap}")


def _checked(
    labels: ArrayLike, enrol: ArrayLike, test: ArrayLike, systems: Mapping[str, ArrayLike]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Arrays of the same length, scores float64 and numbers; both classes."""
    target = np.asarray(labels)
    if target.ndim != 1 or not np.isin(target, (0, 1)).all():
        raise DataError("labels must be (n_trials,) of true (target) and false; take unknowns out")
    target = target.astype(bool)
    sides = np.asarray(enrol), np.asarray(test)
    scores = {}
    for name, values in systems.items():
        try:
            scores[str(name)] = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            raise DataError(f"the scores of {name} are not numbers") from None
        if np.isnan(scores[str(name)]).any():
            count = int(np.isnan(scores[str(name)]).sum())
            raise DataError(f"{count} scores of {name} are NaN; mend the scoring")
    named = {"enrolment speakers": sides[0], "test speakers": sides[1]}
    for name, array in {**named, **{f"scores of {n}": v for n, v in scores.items()}}.items():
        if array.shape != target.shape:
            raise DataError(f"{name} of shape {array.shape} for {len(target)} trials")
    if target.all() or not target.any():
        missing = "nontarget" if target.any() else "target"
        raise DataError(f"there are no {missing} trials; error rates need both classes")
    return target, sides, scores


def _point(point: OperatingPoint) -> Record:
    return {
        "label": point.label,
        "p_target": point.p_target,
        "c_miss": point.c_miss,
        "c_fa": point.c_fa,
        "threshold": point.threshold,
    }


def _cautions(
    content: Record, measured: dict[str, OperatingPoints], points: Sequence[OperatingPoint]
) -> list[str]:
    """What the numbers themselves warn of."""
    from fusion.report.words import cautions

    few: dict[str, list[str]] = {}
    for point in points:
        for name, system in measured.items():
            costs = point.p_target, point.c_miss, point.c_fa
            if system.min_dcf(*costs) > 1 - 1e-9:
                continue  # no threshold costs less than deciding without scores, as is said
            at = system.best_point(*costs)
            missed, rejected = system.below(at)
            errors = min(missed, system.n_nontargets - rejected)
            if errors < RULE_OF:
                few.setdefault(point.label, []).append(name)
    scarce = [
        name
        for name, system in measured.items()
        if system.eer() * min(system.n_targets, system.n_nontargets) < RULE_OF
    ]
    return cautions(content, few, scarce)
