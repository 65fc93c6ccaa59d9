"""The words of a report: summary, cautions, facts, glossary, and all of it as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fusion.calibration.grades import Grade
from fusion.calibration.wording import calibration_sentences, listed, without_scores
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import ACTUAL_COST, METRICS, PRIMARY, groups
from fusion.plots.det import RULE_OF
from fusion.report.forensic import forensic_sentences, forensic_tables, forensic_terms
from fusion.report.tables import (
    Cell,
    Table,
    count,
    interval,
    p_text,
    tables,
    told_digits,
    too_few,
)
from ivector.base.foreign.names import shown

Record = dict[str, Any]
_FEW_SPEAKERS = 10
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")

# Terms beside the metrics, each with whether it is of likelihood ratios only: before those of any
# threshold, before those at operating points, before the others, and after.
_TRIALS = (
    ("Trial", "two sides, an enrolled speaker and a test recording, and the question whether one "
     "person spoke both; a target trial if so, a nontarget trial if not", False),
    ("Miss, false alarm", "a target trial that is rejected; a nontarget trial that is accepted",
     False),
)  # fmt: skip
_POINTS = (
    ("P_tar, C_miss, C_fa", "an operating point: the probability of a target trial where the "
     "system will be used, and what either error costs there (1 unless given)", False),
)  # fmt: skip
_RATIOS = (
    ("Likelihood ratio (LR, llr)", "how many times more probable the two recordings are if one "
     "person spoke both than if two did; llr is its natural logarithm. It is not the probability "
     "that one person spoke both, which depends on a prior, too", True),
)  # fmt: skip
_OTHERS = (
    ("Calibration loss", "Cllr less min Cllr: what is lost because ratios are too large or too "
     "small; on few trials PAV fits too well, and a little loss is no fault", True),
    ("PAV", "pool adjacent violators: that best recalibration, found with the labels", False),
    ("Prior log-odds", "ln(P / (1 − P)) of the probability P of a target trial", True),
    ("95 % interval", "a range made so that, if the evaluation were repeated with other speakers, "
     "95 of 100 such ranges would hold the true value; from drawing speakers anew, not trials, as "
     "trials of one speaker are alike. That of a cost also goes up to what errors of a kind may "
     "cost that were never seen; where one of them would change it beyond recognition, errors are "
     "too few to tell", False),
    ("p-value", "how often a difference at least this large would be seen if there were none",
     False),
    ("DET, ROC", "miss rate (or detection rate) over false-alarm rate at all thresholds; DET "
     "stretches small rates so that bell-shaped scores give straight lines", False),
)  # fmt: skip


def glossary(content: Record) -> list[tuple[str, str]]:
    """Terms that occur, one line each."""
    any_llr = any(row["llr"] for row in content["systems"])
    terms: list[tuple[str, str, bool]] = []
    for words, metrics in zip((_TRIALS, _POINTS, _RATIOS), groups()):
        terms += [*words, *((m.symbol, m.meaning, m.needs_llr) for m in metrics)]
    found = [(term, text) for term, text, of_llr in (*terms, *_OTHERS) if any_llr or not of_llr]
    return found + forensic_terms(content)


def summary(content: Record) -> list[str]:
    """What a reader in a hurry should know, in sentences."""
    size = content["trials"]
    people = f" between {_speakers(size)} speakers" if size["speakers"] else ""
    text = (
        f"Measured on {count(size['trials'])} trials{people}; in {count(size['targets'])} of "
        "them, the target trials, one person spoke both sides."
    )
    several = len(content["systems"]) > 1
    named = content["comparison"]["best"] if several else content["systems"][0]["system"]
    best = next(row for row in content["systems"] if row["system"] == named)
    rate, rates = best[PRIMARY.name], [row[PRIMARY.name] for row in content["systems"]]
    show = partial(PRIMARY.text, digits=told_digits(PRIMARY, rates))
    ends = interval(rate, show)
    reaches = "makes the fewest errors" if several else "reaches"
    others = content["comparison"]["systems"] if several else []
    if any(not row["metrics"][0]["difference"] for row in others):
        reaches = "makes no more errors than any other"
    text_best = (
        f"{best['system']} {reaches}"
        f"{': ' if several else ' '}an {PRIMARY.symbol} of {show(rate['estimate'])} %"
        + (f" ({_interval_words(content, ends)})" if ends else "")
        + (" (too few errors for an interval)" if too_few(rate) else "")
        + f": as if, where both errors are equally frequent, {_of_thousand(rate['estimate'])} "
        "trials of either class were decided wrongly."
    )
    sentences = [text, text_best]
    if several:
        sentences.append(_runner_up(content))
    return sentences + _calibration(content)


def _interval_words(content: Record, ends: str) -> str:
    """An interval, and whether it can be trusted."""
    doubt = content["trials"]["doubt"]
    return f"95 % interval{doubt}{',' * bool(doubt)} {ends}"


def _speakers(size: Record) -> str:
    """How many there are."""
    return f"{'at most ' if size['at_most'] else ''}{count(size['speakers'])}"


def _of_thousand(rate: float) -> str:
    errors = 1000 * rate
    if errors >= 9.5 or errors == 0:
        return f"{errors:.0f} of 1,000"
    return f"{errors:.1f} of 1,000" if errors >= 0.1 else "fewer than 1 of 10,000"


def _runner_up(content: Record) -> str:
    """The best system against the nearest other, in EER."""
    compared = content["comparison"]
    row = min(compared["systems"], key=lambda row: row["metrics"][0]["difference"])
    metric, other = row["metrics"][0], row["system"]
    if metric["difference"] == 0:
        return f"{other} has the same {PRIMARY.symbol}."
    digits = told_digits(PRIMARY, [metric])
    show = partial(PRIMARY.text, digits=digits)
    less = f"{show(metric['difference'])} percentage points of {PRIMARY.symbol}"
    if too_few(metric):
        return (
            f"That is {less} less than {other}, the next; there are too few errors to tell whether "
            "this is chance."
        )
    if metric["low"] is None:
        return f"That is {less} less than {other}, the next; without intervals, this may be chance."
    ends = _interval_words(content, interval(metric, show))
    ends += f", {p_text(metric['p_value'])}".replace("-", "−")
    if metric["low"] > 0:
        return f"{compared['best']} is better than {other}, the next, by {less} ({ends})."
    return (
        f"It is not shown to be better than {other}, the next: the difference is {less} ({ends}), "
        "which may be chance."
    )


def _calibration(content: Record) -> list[str]:
    """How far likelihood ratios can be taken at their word, and where no threshold helps."""
    points = [OperatingPoint(p["p_target"], p["c_miss"], p["c_fa"]) for p in content["points"]]
    grades = {row["system"]: Grade(**row["grade"]) for row in content["systems"] if row["llr"]}
    sentences = calibration_sentences(grades, points)
    for i, point in enumerate(points):
        names = [
            row["system"]
            for row in content["systems"]
            if row[METRICS[ACTUAL_COST.name].best][i]["estimate"] > 1 - 1e-9
        ]
        if names:
            sentences.append(
                f"At {point.label} no threshold of {listed(names)} costs less than "
                f"{without_scores(point)}."
            )
    return sentences


def cautions(content: Record, few: Mapping[str, Sequence[str]], scarce: Sequence[str]) -> list[str]:
    """What to mind: notes that were given, and what the numbers themselves warn of.

    Parameters
    ----------
    content : dict
    few : mapping of str to sequence of str
        By operating point, systems whose least cost rests on few errors.
    scarce : sequence of str
        Systems whose EER does.
    """
    found = list(content["notes"])
    speakers = content["trials"]["speakers"]
    if not content["bootstrap"]:
        found.append("No intervals were made, so that differences may be chance.")
    elif content["trials"]["doubt"]:
        found.append(
            "The speakers are not known, and some recordings of one speaker may count as several: "
            "the intervals are too narrow."
        )
    elif speakers and speakers < _FEW_SPEAKERS:
        found.append(f"Only {speakers} speakers: the intervals are rough.")
    if scarce:
        found.append(f"The EER of {listed(scarce)} rests on fewer than {RULE_OF} errors of a kind.")
    for label, names in few.items():
        found.append(
            f"At {label} the least cost of {listed(names)} rests on fewer than {RULE_OF} misses "
            "or false alarms: its value is rough."
        )
    plain = [row["system"] for row in content["systems"] if not row["llr"]]
    if plain:
        found.append(
            f"The scores of {listed(plain)} are not given as likelihood ratios: "
            f"{'it has' if len(plain) == 1 else 'they have'} no actual costs, and minDCF and min "
            "Cllr show what calibration could reach at best."
        )
    if content["comparison"]:
        rows = content["comparison"]["systems"]
        told = any(metric["p_value"] is not None for row in rows for metric in row["metrics"])
        found.append(
            "The best system was found on these very trials, which flatters it a little"
            + ("; p-values are not corrected for the number of comparisons." if told else ".")
        )
    return found


def facts(content: Record) -> list[tuple[str, str]]:
    """The trials and how they were measured."""
    size, draws = content["trials"], content["bootstrap"]
    found = [
        ("Trials", count(size["trials"])),
        ("Target trials", count(size["targets"])),
        ("Nontarget trials", count(size["nontargets"])),
    ]
    if size["speakers"] is not None:
        found.append(("Speakers", _speakers(size)))
    found += [
        ("Speakers enrolled", count(size["enrolled_speakers"])),
        ("Speakers in test", count(size["test_speakers"])),
    ]
    if size["speakers_from"]:
        found.append(("Speakers told", size["speakers_from"]))
    if draws:
        text = f"{count(draws['replicates'])} draws of the speakers, seed {draws['seed']}"
        found.append(("Intervals", f"95 %, from {text}"))
    for point in content["points"]:
        found.append((f"Threshold at {point['label']}", f"llr {point['threshold']:.4f}"))
    return found


def how(content: Record) -> list[tuple[str, str]]:
    """How it was made, beside the commands."""
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    return [*content["made"].items(), ("Versions", versions)]


def markdown(content: Record) -> str:
    """The report without figures."""
    lines = [f"# {_md(content['title'])}", ""]
    if content["date"]:
        lines += [_md(content["date"]), ""]
    lines += [_md(" ".join(content["summary"])), ""]
    titles = {"systems": "Systems", "differences": "Comparison", "condition-1": "Conditions"}
    for table in tables(content):
        if table.key in titles:
            lines += [f"## {titles[table.key]}", ""]
        lines += [*_md_table(table), ""]
    chapter = forensic_tables(content)
    if chapter:
        lines += ["## Forensic validation", ""]
        lines += [line for text in forensic_sentences(content) for line in (_md(text), "")]
        lines += [line for table in chapter for line in (*_md_table(table), "")]
    lines += ["## Cautions", "", *(f"- {_md(text)}" for text in content["cautions"]), ""]
    lines += ["## Data", "", *(f"- {_md(k)}: {_md(v)}" for k, v in facts(content)), ""]
    lines += ["## Terms", "", *(f"- **{_md(k)}**: {_md(v)}." for k, v in glossary(content)), ""]
    lines += ["## How it was made", ""]
    for command in content["commands"]:
        lines += [*(f"    {shown(line, most=0)}" for line in command.splitlines()), ""]
    lines += [f"- {_md(name)}: {_md(text)}" for name, text in how(content)]
    return "\n".join(lines).rstrip() + "\n"


def _md_table(table: Table) -> list[str]:
    lines = [f"{_md(table.caption)}.", ""]
    head = [Cell(", ".join((cell.text, *cell.extra))) for cell in table.head]
    lines += [_md_row(head), "|" + " :--- |" + " ---: |" * (len(table.head) - 1)]
    for name, rows in table.parts:
        if name:
            lines.append(f"| *{_md(name)}* |" + " |" * (len(table.head) - 1))
        lines += map(_md_row, rows)
    return lines


def _md_cell(cell: Cell) -> str:
    text = f"**{_md(cell.text)}**" if cell.best else _md(cell.text)
    return f"{text} ({_md('; '.join(cell.extra))})" if cell.extra else text


def _md_row(cells: Sequence[Cell]) -> str:
    return "| " + " | ".join(map(_md_cell, cells)) + " |"


def _md(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", shown(" ".join(text.split()), most=0))
