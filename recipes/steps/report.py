"""Stage 10: error rates with their intervals, DET plot, score distributions, times."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion.formats import ScoredTrials, align, read_scores, read_trials
from fusion.intervals import BootstrapResult, Interval, bootstrap_interval
from fusion.metrics import OperatingPoints
from fusion.plots import det_band, plot_det, plot_score_histogram
from fusion.speakers import mapped_speakers, read_enrolments, read_map
from ivector.base.cli import whole
from ivector.base.errors import DataError
from ivector.base.files import write_text
from recipes.stage import read_mark, require, stage
from recipes.steps.common import folds, logger, make_parser

P_TARGET = (0.01, 0.001)
HEADER = ("system", "trials of", "targets", "nontargets", "EER %", "minDCF(0.01)", "minDCF(0.001)")
CAUTION = (
    "Intervals: 95 %, bootstrap over speakers. EER: ROC convex hull. A corpus with one session per "
    "speaker gives lower error rates than the field; use these to compare systems on equal terms."
)


@dataclass(frozen=True)
class Row:
    """Error rates of one system on one fold or on all of them."""

    system: str
    part: str
    scored: ScoredTrials
    result: BootstrapResult | None

    def cells(self) -> list[str]:
        """The row as text."""
        tar, non = self.scored.split()
        return [self.system, self.part, str(len(tar)), str(len(non)), *self._rates()]

    def _rates(self) -> list[str]:
        if self.result is None:
            points = OperatingPoints(*self.scored.split())
            return [f"{100 * points.eer():.2f}", *(f"{points.min_dcf(p):.3f}" for p in P_TARGET)]
        eer, costs = self.result.eer, self.result.min_dcf
        return [_with_interval(eer, 100, 2), *(_with_interval(cost, 1, 3) for cost in costs)]

    def record(self) -> dict:
        """The row for machines."""
        points = OperatingPoints(*self.scored.split())
        record: dict = {
            "system": self.system,
            "part": self.part,
            "n_targets": points.n_targets,
            "n_nontargets": points.n_nontargets,
            "eer": points.eer(),
            "eer_interpolated": points.eer_interpolated(),
            "min_dcf": {str(p): points.min_dcf(p) for p in P_TARGET},
        }
        if self.result is not None:
            record["eer_interval"] = [self.result.eer.low, self.result.eer.high]
            record["min_dcf_interval"] = {
                str(p): [cost.low, cost.high] for p, cost in zip(P_TARGET, self.result.min_dcf)
            }
        return record


def _with_interval(value: Interval, scale: float, digits: int) -> str:
    estimate, low, high = (
        f"{scale * x:.{digits}f}" for x in (value.estimate, value.low, value.high)
    )
    return f"{estimate} [{low}, {high}]"


def evaluate(data: Path, system: Path, parts: Sequence[Path], n_bootstrap: int, label: str) -> Row:
    """Error rates of the scores of some folds, pooled."""
    outputs = [system / "scores" / part.name for part in parts]
    for output in outputs:
        require(output, 6)
    scored = align(
        read_scores([out / "scores" for out in outputs]),
        read_trials([out / "trials" for out in outputs]),
    )
    scored.split()  # says in the list's own terms that a class has no trials
    result = _intervals(data, parts, scored, n_bootstrap) if n_bootstrap else None
    return Row(system.name, label, scored, result)


def _intervals(
    data: Path, parts: Sequence[Path], scored: ScoredTrials, n_bootstrap: int
) -> BootstrapResult:
    utt2spk = read_map(data / "wav" / "utt2spk")
    models: dict[str, str] = {}
    for part in parts:
        models.update(read_enrolments(part / "enroll", utt2spk))
    speakers = mapped_speakers(scored.trials, utt2spk, models)
    return bootstrap_interval(
        scored.values,
        scored.trials.labels == 1,
        speakers.enrol,
        speakers.test,
        p_target=P_TARGET,
        band=det_band(),
        n_bootstrap=n_bootstrap,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    cells = [list(HEADER)] + [row.cells() for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines) + "\n"


def times(exp: Path) -> str:
    """Seconds of every finished stage as a Markdown table."""
    marks = [(path.parent, read_mark(path.parent)) for path in sorted(exp.rglob("done.json"))]
    lines = [
        f"| {folder.relative_to(exp)} | {mark['seconds']:.1f} |"
        for folder, mark in marks
        if mark and folder.name != "report"
    ]
    return "\n".join(["| stage | seconds |", "|---|---|", *lines]) + "\n"


def report(arguments: argparse.Namespace, work: Path) -> str:
    """Write the report of every system that has scores into `work`; return its table."""
    parts = folds(arguments.data)
    systems = _scored_systems(arguments.exp, parts)
    rows = []
    for system in systems:
        if len(parts) > 1 and not arguments.pooled_only:
            rows += [evaluate(arguments.data, system, [p], arguments.bootstrap, p.name)
                     for p in parts]  # fmt: skip
        rows.append(evaluate(arguments.data, system, parts, arguments.bootstrap, "all"))
    pooled = [row for row in rows if row.part == "all"]
    title = arguments.data.name
    points = {row.system: OperatingPoints(*row.scored.split()) for row in pooled}
    bands = {row.system: row.result for row in pooled if row.result is not None}
    plot_det(work / "det.png", points, P_TARGET[:1], bands or None, title)
    for row in pooled:
        name = f"{title}: {row.system}"
        plot_score_histogram(work / f"scores-{row.system}.png", *row.scored.split(), title=name)
    text = table(rows)
    pictures = "\n".join(f"![]({path.name})" for path in sorted(work.glob("*.png")))
    write_text(
        work / "results.md",
        f"# {title}\n\n{text}\n{CAUTION}\n\n{pictures}\n\n{times(arguments.exp)}",
    )
    records = json.dumps([row.record() for row in rows], indent=1)
    write_text(work / "results.json", records + "\n")
    return text


def _scored_systems(exp: Path, parts: Sequence[Path]) -> list[Path]:
    found = sorted(path.parent for path in exp.glob("*/scores"))
    whole = [s for s in found if all(read_mark(s / "scores" / p.name) for p in parts)]
    if not whole:
        raise DataError(f"{exp}: no system has scores of all folds; run with --stage 6")
    return whole


def main(arguments: argparse.Namespace) -> None:
    """Run the stage."""
    target = arguments.exp / "report"
    # Made anew each time, as it is quick and looks at all systems there are.
    with stage(target, {"bootstrap": arguments.bootstrap}, force=True) as work:
        assert work is not None
        text = report(arguments, work)
    print(text + CAUTION)
    logger.info("report: %s, DET plot: %s", target / "results.md", target / "det.png")


def _replicates(text: str) -> int:
    return 0 if text == "0" else whole(20)(text)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("report", __doc__ or "")
    parser.add_argument(
        "--bootstrap", type=_replicates, default=1000, help="replicates of the intervals; 0: none"
    )
    parser.add_argument("--pooled-only", action="store_true", help="no rows of single folds")
    return parser
