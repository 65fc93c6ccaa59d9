"""Stage 10: error rates with their intervals, what the llr are worth, a page with plots, times."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.formats.files import align, read_scores, read_trials
from fusion.formats.layouts import TARGET
from fusion.formats.speakers import TrialSpeakers, mapped_speakers, read_enrolments, read_map
from fusion.formats.tables import ScoredTrials, Trials
from fusion.intervals.bootstrap import BootstrapResult, Interval, bootstrap_interval
from fusion.metrics.points import OperatingPoint
from fusion.metrics.rates import OperatingPoints
from fusion.plots.det import det_band, plot_det, plot_score_histogram
from fusion.report.make import Report, make_report
from ivector.base.errors import DataError
from ivector.base.files import write_text
from recipes.engine.marks import is_made_from, versions
from recipes.engine.run import Job, Run
from recipes.engine.stage import read_mark, require
from recipes.experiment.frames import logger
from recipes.experiment.protocol import folds, protocol_digest
from recipes.systems import FUSED, SYSTEMS

P_TARGET = (0.01, 0.001)
HEADER = ("system", "trials of", "targets", "nontargets", "EER %", "minDCF(0.01)", "minDCF(0.001)")
LLR_HEADER = ["system", "EER %"] + [
    f"{kind}DCF({p:g})" for p in P_TARGET for kind in ("min", "act")
] + ["Cllr", "min Cllr"]  # fmt: skip
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
        known = SYSTEMS.get(system.name)
        require(output, max(known.steps.values()) if known else 6)
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
    speakers = _speakers(data, parts, scored.trials)
    return bootstrap_interval(
        scored.values,
        scored.trials.labels == TARGET,
        speakers.enrol,
        speakers.test,
        p_target=P_TARGET,
        band=det_band(),
        n_bootstrap=n_bootstrap,
    )


def _speakers(data: Path, parts: Sequence[Path], trials: Trials) -> TrialSpeakers:
    utt2spk = read_map(data / "wav" / "utt2spk")
    models: dict[str, str] = {}
    for part in parts:
        models.update(read_enrolments(part / "enroll", utt2spk))
    return mapped_speakers(trials, utt2spk, models)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return markdown_table([list(HEADER)] + [row.cells() for row in rows])


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the first of them the head, as a Markdown table."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
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


def ratios(exp: Path, parts: Sequence[Path]) -> dict[str, list[Path]]:
    """Files of the llr that stage 9 made of the scores as they are now, by system."""
    homes = [exp / FUSED / "llr", *sorted(exp.glob("*/llr"))]
    found: dict[str, list[Path]] = {}
    for home in homes:
        marks = [read_mark(home / part.name) for part in parts]
        if not all(marks):
            continue
        names = {path.stem for path in (home / parts[0].name).glob("*.scores")}
        systems = sorted(names, key=lambda name: (name == FUSED, name))
        scores = [[_stamp(exp / name / "scores" / part.name) for name in systems
                   if name != FUSED] for part in parts]  # fmt: skip
        if not all(mark and is_made_from(mark, now) for mark, now in zip(marks, scores)):
            logger.warning("%s: scores are newer, left out; run with --stage 9", home)
            continue
        for name in systems:
            files = [home / part.name / f"{name}.scores" for part in parts]
            found.setdefault(name, files)
    return found


def _stamp(folder: Path) -> str:
    mark = read_mark(folder)
    return mark["stamp"] if mark else ""


def page(run: Run, parts: Sequence[Path], raw: Mapping[str, Sequence[Path]]) -> Report:
    """Report on the llr of all systems, or on their scores where there are no llr."""
    values = run.settings.common
    llr = ratios(run.exp, parts)
    files = llr or raw
    lists = [path.with_name("trials") for path in next(iter(raw.values()))]
    trials = read_trials(lists)
    speakers = _speakers(run.data, parts, trials)
    conditions = {}
    if len(parts) > 1:
        names = np.array([part.name for part in parts], object)
        conditions["fold"] = np.repeat(names, [len(read_trials(path)) for path in lists])
    return make_report(
        trials.labels == TARGET,
        speakers.enrol,
        speakers.test,
        {name: align(read_scores(paths), trials).values for name, paths in files.items()},
        llr=list(llr),
        points=[OperatingPoint(p) for p in P_TARGET],
        n_bootstrap=values.bootstrap,
        conditions=conditions,
        title=f"Speaker verification on {run.data.name}",
        commands=[shlex.join(["bash", "recipes/run.sh", *run.settings.words])],
        versions=versions(),
        notes=[CAUTION, *cautions(run.exp)],
        speakers_from=speakers.source,
        random_state=values.seed,
    )


def llr_table(found: Report) -> str:
    """What the log-likelihood ratios are worth, as a Markdown table; empty without any."""
    rows = [row for row in found.record()["systems"] if row["llr"]]
    if not rows:
        return ""
    lines = [LLR_HEADER]
    for row in rows:
        cells = [row["system"], _cell(row["eer"], 100, 2)]
        for least, actual in zip(row["min_dcf"], row["act_dcf"]):
            cells += [_cell(least, 1, 3), _cell(actual, 1, 3)]
        lines.append([*cells, _cell(row["cllr"], 1, 3), _cell(row["min_cllr"], 1, 3)])
    return markdown_table(lines)


def _cell(value: Mapping[str, float | None], scale: float, digits: int) -> str:
    if value["low"] is None or value["high"] is None:
        return f"{scale * float(value['estimate'] or 0):.{digits}f}"
    ends = [f"{scale * float(value[key] or 0):.{digits}f}" for key in ("estimate", "low", "high")]
    return f"{ends[0]} [{ends[1]}, {ends[2]}]"


def cautions(exp: Path) -> list[str]:
    """What the stages have warned of, once; the folds' names go, and so do development folds."""
    marks = [exp / "development" / "data", exp / "features", *sorted(exp.glob("*/*/fold*"))]
    told: dict[str, None] = {}
    for mark in map(read_mark, marks):
        for text in (mark or {}).get("warnings", ()):
            told.setdefault(re.sub(r"^fold\d+: ", "", text))
    return list(told)


def report(run: Run, work: Path) -> str:
    """Write the report of every system that has scores into `work`; return its tables."""
    values, parts = run.settings.common, folds(run.data)
    systems = _scored_systems(run.exp, parts)
    rows = []
    for system in systems:
        if len(parts) > 1 and not values.pooled_only:
            rows += [evaluate(run.data, system, [p], values.bootstrap, p.name) for p in parts]
        rows.append(evaluate(run.data, system, parts, values.bootstrap, "all"))
    pooled = [row for row in rows if row.part == "all"]
    title = run.data.name
    points = {row.system: OperatingPoints(*row.scored.split()) for row in pooled}
    bands = {row.system: row.result for row in pooled if row.result is not None}
    plot_det(work / "det.png", points, P_TARGET[:1], bands or None, title)
    for row in pooled:
        name = f"{title}: {row.system}"
        plot_score_histogram(work / f"scores-{row.system}.png", *row.scored.split(), title=name)
    raw = {s.name: [s / "scores" / part.name / "scores" for part in parts] for s in systems}
    found = page(run, parts, raw)
    found.write(work / "report.html")
    text = table(rows)
    if calibrated := llr_table(found):
        text += f"\nAs log-likelihood ratios, calibrated and fused by stage 9:\n\n{calibrated}"
    pictures = "\n".join(f"![]({path.name})" for path in sorted(work.glob("*.png")))
    write_text(
        work / "results.md",
        f"# {title}\n\n{text}\n{CAUTION}\n\n{pictures}\n\n{times(run.exp)}",
    )
    records = json.dumps([row.record() for row in rows], indent=1)
    write_text(work / "results.json", records + "\n")
    return text + "\n"


def _scored_systems(exp: Path, parts: Sequence[Path]) -> list[Path]:
    found = sorted(path.parent for path in exp.glob("*/scores"))
    whole = [s for s in found if all(read_mark(s / "scores" / p.name) for p in parts)]
    if not whole:
        raise DataError(f"{exp}: no system has scores of all folds; run with --stage 6")
    current = [system for system in whole if all(_is_current(system, part) for part in parts)]
    for system in sorted(set(whole) - set(current)):
        logger.warning("%s: scores are older than lists or back-end, left out", system / "scores")
    if not current:
        raise DataError(f"{exp}: no scores of the present lists and back-end; run with --stage 6")
    return current


def _is_current(system: Path, part: Path) -> bool:
    """Whether a fold was scored by the back-end, if the system has one, and lists as they are."""
    mark, backend = (read_mark(system / kind / part.name) for kind in ("scores", "backend"))
    now = [protocol_digest(part), *([backend["stamp"]] if backend else [])]
    return mark is not None and is_made_from(mark, now)


def make(run: Run, work: Path, nj: int) -> None:
    """Write the report and print its tables, and what was warned of on the way."""
    text = report(run, work)
    print(text + CAUTION)
    for told in cautions(run.exp):
        print(f"Note: {told}")
    print(f"\nThe report: {run.exp / 'report' / 'report.html'} (tables: results.md, results.json)")


def jobs(run: Run) -> Iterator[Job]:
    """The report, made anew each time, as it is quick and looks at all systems there are."""
    options = {"bootstrap": run.settings.common.bootstrap}
    body = functools.partial(make, run)
    yield Job(run.exp / "report", options, {}, body, run.code("report"), True, alone=True)
