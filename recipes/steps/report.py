"""Stage 10: error rates with their intervals, what the llr are worth, a page with plots, times."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.formats.files import align, read_scores, read_trials
from fusion.formats.layouts import TARGET
from fusion.formats.speakers import TrialSpeakers, mapped_speakers, read_enrolments, read_map
from fusion.formats.tables import ScoredTrials, Trials
from fusion.intervals.bootstrap import BootstrapResult, bootstrap_interval
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS, Key, Metric, columns, pick
from fusion.plots.det import det_band, plot_det, plot_score_histogram
from fusion.report.make import Report, make_report
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.base.foreign.names import markdown_text
from ivector.base.parallel.forks import each
from ivector.base.portable import processor
from recipes.engine.marks import commit, is_made_from, versions
from recipes.engine.run import Job, Run
from recipes.engine.stage import read_mark, require
from recipes.experiment.decisions import decisions
from recipes.experiment.frames import logger
from recipes.experiment.protocol import folds, protocol_digest
from recipes.steps.domain import read_domain
from recipes.systems import FUSED, SYSTEMS

P_TARGET = (0.01, 0.001)
POINTS = [OperatingPoint(p) for p in P_TARGET]
DIGITS = 3  # at most, of a metric
CAUTION = (
    "Intervals: 95 %, bootstrap over speakers. EER: ROC convex hull. A corpus with one session per "
    "speaker gives lower error rates than the field; use these to compare systems on equal terms."
)
GENERATED = (
    "The corpus is generated: a program made its voices, so that these numbers show that the "
    "systems work, not how well they do on speech."
)
SCALES = (
    "Each fold's scores were calibrated on their own, which brings the folds to one scale: the EER "
    "of all of them together may differ from that of the scores as they were, in results.md."
)
SIZES = ("num_components", "covariance", "num_gselect", "num_iters_diag", "num_iters_full", "rank",
         "num_iters_tv", "lda_dim", "plda_iters", "dev_folds")  # fmt: skip

Ends = list[float] | None


@dataclass(frozen=True)
class Row:
    """Error rates of one system on one fold or on all of them."""

    system: str
    part: str
    scored: ScoredTrials
    result: BootstrapResult | None

    def cells(self) -> list[str]:
        """The row as text."""
        points = OperatingPoints(*self.scored.split())
        rates = [_cell(METRICS[key[0]], *self._found(points, key)) for key in _columns(False)]
        counts = [str(points.n_targets), str(points.n_nontargets)]
        return [self.system, self.part, *counts, *rates]

    def _found(self, points: OperatingPoints, key: Key) -> tuple[float, Ends]:
        """One metric and the ends of its interval, if there are intervals."""
        found = self.result.intervals[key] if self.result else None
        value = METRICS[key[0]].measure(points, POINTS[key[1]])
        return value, [found.low, found.high] if found else None

    def record(self) -> dict:
        """The row for machines."""
        points = OperatingPoints(*self.scored.split())
        record: dict = {
            "system": self.system,
            "part": self.part,
            "n_targets": points.n_targets,
            "n_nontargets": points.n_nontargets,
        }
        intervals = {}
        for metric in METRICS.values():
            if metric.of_ratios:
                continue
            numbers = range(len(POINTS) if metric.per_point else 1)
            found = [self._found(points, (metric.name, number)) for number in numbers]
            values, ends = (
                dict(zip(map(str, P_TARGET), part)) if metric.per_point else part[0]
                for part in zip(*found)
            )
            record[metric.name], intervals[f"{metric.name}_interval"] = values, ends
            if metric.reading:
                record[metric.reading.name] = metric.reading.function(points)
        return record | intervals if self.result else record


def _columns(with_ratios: bool) -> list[Key]:
    """Metrics of a table: all, or those that tell how well the classes are told apart."""
    keys = columns(len(POINTS))
    return keys if with_ratios else [key for key in keys if not METRICS[key[0]].of_ratios]


def _heads(keys: Sequence[Key]) -> list[str]:
    metrics = [(METRICS[name], P_TARGET[number]) for name, number in keys]
    return [metric.heading(f"{p:g}" if metric.per_point else "") for metric, p in metrics]


def _cell(metric: Metric, value: float, ends: Ends) -> str:
    digits = min(metric.digits, DIGITS)
    text = metric.text(value, digits)
    return f"{text} [{', '.join(metric.text(end, digits) for end in ends)}]" if ends else text


def evaluate(run: Run, system: Path, parts: Sequence[Path], label: str) -> Row:
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
    result = _intervals(run, parts, scored) if run.settings.common.bootstrap else None
    return Row(system.name, label, scored, result)


def _intervals(run: Run, parts: Sequence[Path], scored: ScoredTrials) -> BootstrapResult:
    speakers = _speakers(run.data, parts, scored.trials)
    return bootstrap_interval(
        scored.values,
        scored.trials.labels == TARGET,
        speakers.enrol,
        speakers.test,
        p_target=P_TARGET,
        band=det_band(),
        n_bootstrap=run.settings.common.bootstrap,
        random_state=run.settings.common.seed,
    )


def _speakers(data: Path, parts: Sequence[Path], trials: Trials) -> TrialSpeakers:
    utt2spk = read_map(data / "wav" / "utt2spk")
    models: dict[str, str] = {}
    for part in parts:
        models.update(read_enrolments(part / "enroll", utt2spk))
    return mapped_speakers(trials, utt2spk, models)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    heads = ["system", "trials of", "targets", "nontargets", *_heads(_columns(False))]
    return markdown_table([heads] + [row.cells() for row in rows])


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the first of them the head, as a Markdown table."""
    cells = [list(map(markdown_text, line)) for line in cells]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines) + "\n"


def times(exp: Path) -> str:
    """Seconds of every finished stage as a Markdown table."""
    marks = [(folder, read_mark(folder)) for folder in _finished(exp)]
    lines = [
        f"| {markdown_text(folder.relative_to(exp))} | {mark['seconds']:.1f} |"
        for folder, mark in marks
        if mark
    ]
    return "\n".join(["| stage | seconds |", "|---|---|", *lines]) + "\n"


def ratios(exp: Path, parts: Sequence[Path]) -> dict[str, list[Path]]:
    """Files of the llr that stage 9 made of the scores as they are now, by system."""
    homes = dict.fromkeys([exp / FUSED / "llr", *sorted(exp.glob("*/llr"))])
    found: dict[str, list[Path]] = {}
    for home in homes:
        marks = [read_mark(home / part.name) for part in parts]
        if not all(marks):
            continue
        made = (home / parts[0].name).glob("*.scores")
        # Those of further trial lists have no calibration of their own.
        names = {path.stem for path in made if path.with_suffix(".json").is_file()}
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
        points=POINTS,
        n_bootstrap=values.bootstrap,
        conditions=conditions,
        title=f"Speaker verification on {run.data.name}",
        commands=[shlex.join(["bash", "recipes/run.sh", *run.settings.words])],
        versions=versions(),
        notes=[CAUTION, *_notes(run, parts, bool(llr)), *cautions(run)],
        speakers_from=speakers.source,
        random_state=values.seed,
        made=_made(run, parts, llr or raw),
    )


def _notes(run: Run, parts: Sequence[Path], llr: bool) -> list[str]:
    """What else a reader of the page has to know."""
    found = [GENERATED] if run.settings.common.corpus == "synthetic" else []
    return found + ([SCALES] if llr and len(parts) > 1 else [])


def _made(run: Run, parts: Sequence[Path], systems: Iterable[str]) -> dict[str, str]:
    """Sizes, seed, code, hardware and time, in words."""
    used = run.settings.of[next((name for name in systems if name in SYSTEMS), "ivector")]
    sizes = [f"--{name.replace('_', '-')} {getattr(used, name)}" for name in SIZES]
    seconds = sum(mark["seconds"] for mark in map(read_mark, _finished(run.exp)) if mark)
    return {
        "Sizes": ", ".join(sizes),
        "Seed": str(run.settings.common.seed),
        **_domain(run, parts),
        "Commit": commit() or "not in a checkout",
        "Hardware": f"{processor()}, {os.cpu_count()} threads",
        "Time of the stages": f"{seconds:,.0f} s, of which results.md says more",
    }


def _domain(run: Run, parts: Sequence[Path]) -> dict[str, str]:
    """How far the recordings on trial are from those of training, in words."""
    folders = [run.exp / "domain" / part.name for part in parts]
    found = [read_domain(folder).get("", {}) for folder in folders if read_mark(folder)]
    distances = [one["distance"] for one in found if "distance" in one]
    if not distances:
        return {}
    farthest = max(distances)
    like = "not like" if farthest > 1 else "like"
    return {"Recordings on trial": f"{like} those of training: distance {farthest:.2f} at most, "
            "where unseen speakers of the training data stay below 1 in 95 % of sets"}  # fmt: skip


def _finished(exp: Path) -> list[Path]:
    found = sorted(path.parent for path in exp.rglob("done.json"))
    return [folder for folder in found if folder.name != "report"]


def llr_table(found: Report) -> str:
    """What the log-likelihood ratios are worth, as a Markdown table; empty without any."""
    rows = [row for row in found.record()["systems"] if row["llr"]]
    if not rows:
        return ""
    keys = _columns(True)
    lines = [["system", *_heads(keys)]]
    for row in rows:
        cells = [row["system"]]
        for key in keys:
            number = pick(row, key)
            ends = None if number["low"] is None else [number["low"], number["high"]]
            cells.append(_cell(METRICS[key[0]], number["estimate"], ends))
        lines.append(cells)
    return markdown_table(lines)


def cautions(run: Run) -> list[str]:
    """What the stages have warned of, once, without names of folds; what ``--adapt`` did."""
    marks = [run.data, run.development.data, run.features,
             *sorted(run.exp.glob("domain/fold*")), *sorted(run.exp.glob("*/*/fold*"))]  # fmt: skip
    told: dict[str, None] = {}
    for mark in map(read_mark, marks):
        for text in (mark or {}).get("warnings", ()):
            told.setdefault(re.sub(r"^fold\d+: ", "", text))
    return [*told, *decisions(run)]


def report(run: Run, work: Path) -> str:
    """Write the report of every system that has scores into `work`; return its tables."""
    parts = folds(run.data)
    systems = _scored_systems(run.exp, parts)
    # Each draws its own replicates and figures.
    text, worth = each(
        [
            functools.partial(_rates, run, work, systems, parts),
            functools.partial(_worth, run, work, systems, parts),
        ]
    )
    if worth:
        text += f"\nAs log-likelihood ratios, calibrated and fused by stage 9:\n\n{worth}"
        text += f"\n{SCALES}\n" if len(parts) > 1 else ""
    notes = "".join(f"Note: {markdown_text(told)}\n\n" for told in cautions(run))
    pictures = "\n".join(f"![]({path.name})" for path in sorted(work.glob("*.png")))
    title = f"# {markdown_text(run.data.name)}"
    write_text(
        work / "results.md",
        f"{title}\n\n{text}\n{CAUTION}\n\n{notes}{pictures}\n\n{times(run.exp)}",
    )
    return text + "\n"


def _rates(run: Run, work: Path, systems: Sequence[Path], parts: Sequence[Path]) -> str:
    """Error rates of the scores as they are: a table, ``results.json`` and pictures."""
    rows = []
    for system in systems:
        if len(parts) > 1 and not run.settings.common.pooled_only:
            rows += [evaluate(run, system, [p], p.name) for p in parts]
        rows.append(evaluate(run, system, parts, "all"))
    records = json.dumps([row.record() for row in rows], indent=1)
    write_text(work / "results.json", records + "\n")
    pooled = [row for row in rows if row.part == "all"]
    title = run.data.name
    points = {row.system: OperatingPoints(*row.scored.split()) for row in pooled}
    bands = {row.system: row.result for row in pooled if row.result is not None}
    plot_det(work / "det.png", points, P_TARGET[:1], bands or None, title)
    for row in pooled:
        name = f"{title}: {row.system}"
        plot_score_histogram(work / f"scores-{row.system}.png", *row.scored.split(), title=name)
    return table(rows)


def _worth(run: Run, work: Path, systems: Sequence[Path], parts: Sequence[Path]) -> str:
    """The page, and the table of what the log-likelihood ratios are worth."""
    raw = {s.name: [s / "scores" / part.name / "scores" for part in parts] for s in systems}
    found = page(run, parts, raw)
    found.write(work / "report.html")
    return llr_table(found)


def _scored_systems(exp: Path, parts: Sequence[Path]) -> list[Path]:
    found = sorted(path.parent for path in exp.glob("*/scores"))
    whole = [s for s in found if all(read_mark(s / "scores" / p.name) for p in parts)]
    if not whole:
        raise DataError(f"{exp}: no system has scores of all folds; run without --stage")
    current = [system for system in whole if all(_is_current(system, part) for part in parts)]
    for system in sorted(set(whole) - set(current)):
        logger.warning("%s: scores are older than lists or back-end, left out", system / "scores")
    if not current:
        raise DataError(f"{exp}: no scores of the present lists and back-end; run without --stage")
    return current


def _is_current(system: Path, part: Path) -> bool:
    """Whether a fold was scored by the back-end, if the system has one, and lists as they are."""
    mark, backend = (read_mark(system / kind / part.name) for kind in ("scores", "backend"))
    now = [protocol_digest(part), *([backend["stamp"]] if backend else [])]
    return mark is not None and is_made_from(mark, now)


def make(run: Run, work: Path, nj: int) -> None:
    """Write the report and print its tables, and what was warned of on the way."""
    text = report(run, work)
    notes = "".join(f"\nNote: {told}" for told in cautions(run))
    where = f"The report: {run.exp / 'report' / 'report.html'} (tables: results.md, results.json)"
    run.say(f"{text}{CAUTION}{notes}\n\n{where}")


def jobs(run: Run) -> Iterator[Job]:
    """The report, made anew each time, as it is quick and looks at all systems there are."""
    options = {"bootstrap": run.settings.common.bootstrap}
    body = functools.partial(make, run)
    yield Job(
        run.exp / "report", options, {}, body, run.code("report"), True, alone=True,
        forced_by="made anew each time",
    )  # fmt: skip
