"""What a comparison of systems found: as objects, as text, in Markdown, as a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fusion.calibration.grades import Grade
from fusion.calibration.wording import calibration_sentences
from fusion.comparison.parts import Versus
from fusion.intervals.results import TOO_FEW, Difference
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS, PRIMARY, Key
from ivector.base.files import plain
from ivector.base.foreign.names import MOST_NAME, markdown_text, shown


@dataclass(frozen=True)
class Comparison:
    """What `compare_systems` found.

    Parameters
    ----------
    first : str
        The system that the others are compared with.
    versus : list of Versus
    points : list of OperatingPoint
    level : float
        Of the intervals.
    n_bootstrap, n_speakers, n_targets, n_nontargets : int
    at : str
        What the thresholds are, in words.
    grades : dict of str to Grade
        How well each system's llr are calibrated; empty if scores are no llr.
    speakers, doubt : str
        How many speakers there are, and what to say of intervals that cannot be trusted, in words
        (`fusion.formats.speakers.TrialSpeakers`).

    Examples
    --------
    >>> from fusion import compare_systems
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> systems = {name: part.scores[name] for name in ("cosine", "plda")}
    >>> found = compare_systems(systems, part.target, *part.sides, n_bootstrap=200)
    >>> found.first, found.n_speakers, found.n_targets
    ('cosine', 40, 240)
    >>> print(found.conclusions()[0])
    No difference in EER between cosine and plda can be told with these 40 speakers: plda - cosine
    is +0.68 %, 95 % interval ... (p = ...).
    """

    first: str
    versus: list[Versus]
    points: list[OperatingPoint]
    level: float
    n_bootstrap: int
    n_speakers: int
    n_targets: int
    n_nontargets: int
    at: str
    ids: Callable[[int], tuple[str, str]] | None = field(default=None, repr=False)
    grades: dict[str, Grade] = field(default_factory=dict)
    speakers: str = ""
    doubt: str = ""

    def conclusions(self) -> list[str]:
        """Plain sentences: of each system beside the first, and of how they are calibrated."""
        found = [sentence for versus in self.versus for sentence in conclusion(self, versus)]
        return found + calibration_sentences(self.grades, self.points)

    def text(self) -> str:
        """Tables and conclusions for a terminal."""
        return text(self)

    def markdown(self) -> str:
        """Tables and conclusions in Markdown."""
        return markdown(self)

    def record(self) -> dict[str, Any]:
        """Everything as what JSON holds; infinite numbers are the strings inf and -inf."""
        return record(self)


Table = tuple[str, list[list[str]]]


def label(key: Key, points: Sequence[OperatingPoint]) -> str:
    """Name of a metric with its operating point."""
    metric = METRICS[key[0]]
    if metric.per_point:
        return f"{metric.symbol} ({points[key[1]].label})"
    return f"{metric.symbol}, {metric.unit}" if metric.unit else metric.symbol


def _better(comparison: Comparison, versus: Versus, key: Key) -> str:
    """Name of the better of two systems in a metric."""
    more = METRICS[key[0]].sign * versus.differences[key].interval.estimate
    return comparison.first if more > 0 else versus.name


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _told(change: Difference, p_value: float) -> str:
    """A p-value, where there are errors enough for one."""
    return _p(p_value) if change.interval.enough else "-"


def conclusion(comparison: Comparison, versus: Versus) -> list[str]:
    """What can be told of a system and the first, in plain sentences."""
    key = (PRIMARY.name, 0)
    change, p_value = versus.differences[key], versus.p_values[key]
    several = len(comparison.versus) > 1
    p_text = f"p {_p(p_value)}" if p_value < 0.001 else f"p = {_p(p_value)}"
    p_text += f", Holm-corrected for {len(comparison.versus)} comparisons" if several else ""
    low, high, symbol = change.interval.low, change.interval.high, PRIMARY.symbol
    unit, interval = f" {PRIMARY.unit}", f"{100 * comparison.level:g} % interval{comparison.doubt}"
    if not change.interval.enough:
        sentences = [
            f"There are too few errors to tell whether {comparison.first} or {versus.name} is "
            f"better in {symbol}."
        ]
    elif p_value < 1 - comparison.level:
        better = _better(comparison, versus, key)
        worse = versus.name if better == comparison.first else comparison.first
        if change.interval.estimate < 0:
            low, high = -high, -low
        size = PRIMARY.text(abs(change.interval.estimate))
        sentences = [
            f"{better} is better than {worse} by {size}{unit} {symbol}, {interval} "
            f"{PRIMARY.text(low)} to {PRIMARY.text(high)} ({p_text})."
        ]
    else:
        size, low_text, high_text = (
            PRIMARY.text(value, sign=True) for value in (change.interval.estimate, low, high)
        )
        sentences = [
            f"No difference in {symbol} between {comparison.first} and {versus.name} can be told "
            f"with these {comparison.speakers}: {versus.name} - {comparison.first} is "
            f"{size}{unit}, {interval} {low_text} to {high_text} ({p_text})."
        ]
    return [*sentences, *_other_metrics(comparison, versus)]


def _other_metrics(comparison: Comparison, versus: Versus) -> list[str]:
    """One sentence for each system that other metrics prefer, and for those that tell none."""
    told: dict[str, list[str]] = {comparison.first: [], versus.name: []}
    untold: list[str] = []
    few: list[str] = []
    for key in versus.differences:
        if key[0] == PRIMARY.name:
            continue
        name = label(key, comparison.points)
        if not versus.differences[key].interval.enough:
            few.append(name)
        elif versus.p_values[key] < 1 - comparison.level:
            told[_better(comparison, versus, key)].append(name)
        else:
            untold.append(name)
    sentences = [
        f"{better} is better in {', '.join(names)}." for better, names in told.items() if names
    ]
    if untold:
        sentences.append(f"No difference can be told in {', '.join(untold)}.")
    if few:
        sentences.append(f"There are too few errors to tell in {', '.join(few)}.")
    return sentences


def _tables(comparison: Comparison, versus: Versus) -> list[Table]:
    """Caption and rows, the head first, of what is shown of a system."""
    one, two = comparison.first, versus.name
    several = len(comparison.versus) > 1
    head = ["metric", one, two, f"{two} - {one}", f"{100 * comparison.level:g} % interval", "p"]
    rows = [[*head, "p (Holm)"] if several else head]
    for key, change in versus.differences.items():
        cells = [label(key, comparison.points), *_cells(key, change), _told(change, change.p_value)]
        rows.append([*cells, _told(change, versus.p_values[key])] if several else cells)
    tables = [(f"{two} against {one}", rows), _decisions(comparison, versus)]
    if versus.parts:
        apart = [metric for metric in METRICS.values() if not metric.of_ratios]
        tables += [_by_part(comparison, versus, (metric.name, 0)) for metric in apart]
    if versus.disagreements:
        tables.append(_worst(comparison, versus))
    return tables


def _cells(key: Key, change: Difference) -> list[str]:
    """Both values, the difference and its interval."""
    text = METRICS[key[0]].text
    ends = (change.interval.low, change.interval.high)
    return [
        text(change.a),
        text(change.b),
        text(change.interval.estimate, sign=True),
        " to ".join(text(end, sign=True) for end in ends) if change.interval.enough else TOO_FEW,
    ]


def _decisions(comparison: Comparison, versus: Versus) -> Table:
    one, two = comparison.first, versus.name
    rows = [
        ["trials", f"only {one} errs", f"only {two} errs", "p, trials independent", "p, speakers"]
    ]
    for name, test in versus.tests.items():
        rows.append(
            [name, str(test.only_a), str(test.only_b), _p(test.p_exact), _p(test.p_speakers)]
        )
    cuts = " and ".join(f"{cut:.4g}" for cut in versus.thresholds)
    return f"Decisions at {comparison.at} ({cuts}), McNemar's test", rows


def _by_part(comparison: Comparison, versus: Versus, key: Key) -> Table:
    head = ["part", "targets", "nontargets", "speakers", comparison.first, versus.name]
    rows = [[*head, "difference", f"{100 * comparison.level:g} % interval", "p"]]
    for part in versus.parts:
        cells = [f"{part.condition} {part.name}"]
        cells += [str(n) for n in (part.n_targets, part.n_nontargets, part.n_speakers)]
        change = part.differences.get(key)
        known = [*_cells(key, change), _told(change, change.p_value)] if change else ["-"] * 5
        rows.append([*cells, *known])
    name = label(key, comparison.points)
    return f"{name} in parts of the trials (p not corrected for their number)", rows


def _worst(comparison: Comparison, versus: Versus) -> Table:
    rows = [["trial", "class", comparison.first, versus.name, "better"]]
    for row in versus.disagreements:
        better = versus.name if (row.b > row.a) == row.target else comparison.first
        named = _named(comparison, row.trial)
        kind = "target" if row.target else "nontarget"
        rows.append([named, kind, f"{row.a:.3f}", f"{row.b:.3f}", better])
    return f"Trials of largest disagreement ({versus.scale})", rows


def _named(comparison: Comparison, trial: int) -> str:
    return " ".join(comparison.ids(trial)) if comparison.ids else f"number {trial}"


def _footing(comparison: Comparison) -> str:
    return (
        f"{comparison.n_targets} target and {comparison.n_nontargets} nontarget trials of "
        f"{comparison.speakers}; intervals{comparison.doubt} and p-values: paired bootstrap over "
        f"speakers, {comparison.n_bootstrap} replicates."
    )


def text(comparison: Comparison) -> str:
    """Aligned tables, then the conclusions."""
    lines: list[str] = []
    for versus in comparison.versus:
        for caption, named in _tables(comparison, versus):
            rows = [[shown(cell, most=MOST_NAME) for cell in cells] for cells in named]
            widths = [max(map(len, column)) for column in zip(*rows)]
            lines += [shown(caption)]
            for cells in rows:
                aligned = [cells[0].ljust(widths[0])]
                aligned += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
                lines.append("  " + "  ".join(aligned).rstrip())
            lines.append("")
    lines += [_footing(comparison), *map(shown, comparison.conclusions())]
    return "\n".join(lines) + "\n"


def markdown(comparison: Comparison) -> str:
    """The conclusions, then the tables."""
    lines = [
        "# Comparison",
        "",
        *(f"- {markdown_text(one)}" for one in comparison.conclusions()),
        "",
    ]
    lines += [_footing(comparison), ""]
    for versus in comparison.versus:
        for caption, (head, *rows) in _tables(comparison, versus):
            lines += [
                f"## {markdown_text(caption)}",
                "",
                _row(head),
                _row(["---"] + ["---:"] * (len(head) - 1)),
            ]
            lines += [*map(_row, rows), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown_text, cells)) + " |"


def record(comparison: Comparison) -> dict[str, Any]:
    """Everything as what JSON holds."""
    points = [
        {"p_target": p.p_target, "c_miss": p.c_miss, "c_fa": p.c_fa, "label": p.label}
        for p in comparison.points
    ]
    found = {
        "first": comparison.first,
        "points": points,
        "level": comparison.level,
        "bootstrap": comparison.n_bootstrap,
        "speakers": comparison.n_speakers,
        "targets": comparison.n_targets,
        "nontargets": comparison.n_nontargets,
        "systems": [_versus_record(comparison, versus) for versus in comparison.versus],
        "calibration": {name: vars(grade) for name, grade in comparison.grades.items()},
        "conclusions": comparison.conclusions(),
    }
    return plain(found)


def _versus_record(comparison: Comparison, versus: Versus) -> dict[str, Any]:
    trials = []
    for row in versus.disagreements:
        trials.append({"number": row.trial, "target": row.target})
        if comparison.ids:
            trials[-1] |= dict(zip(("enrol", "test"), comparison.ids(row.trial)))  # type: ignore[arg-type]
        trials[-1] |= {"llr_first": row.a, "llr": row.b}  # type: ignore[dict-item]
    return {
        "system": versus.name,
        "metrics": [
            {**one, "p_holm": versus.p_values[key]}
            for key, one in _metric_records(versus.differences)
        ],
        "decisions": {
            "at": comparison.at,
            "thresholds": versus.thresholds,
            **{name: vars(test) for name, test in versus.tests.items()},
        },
        "parts": [
            {
                "condition": part.condition,
                "name": part.name,
                "targets": part.n_targets,
                "nontargets": part.n_nontargets,
                "speakers": part.n_speakers,
                "metrics": [one for _, one in _metric_records(part.differences)],
            }
            for part in versus.parts
        ],
        "disagreements": {"scale": versus.scale, "trials": trials},
    }


def _metric_records(differences: dict[Key, Difference]) -> list[tuple[Key, dict[str, Any]]]:
    return [
        (
            key,
            {
                "metric": key[0],
                "point": key[1] if METRICS[key[0]].per_point else None,
                "first": change.a,
                "system": change.b,
                "difference": change.interval.estimate,
                "low": change.interval.low,
                "high": change.interval.high,
                "enough_errors": change.interval.enough,
                "p_value": change.p_value,
            },
        )
        for key, change in differences.items()
    ]
