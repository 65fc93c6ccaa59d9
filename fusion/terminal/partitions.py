"""C_primary equalised over partitions of the trials: which they are, and its numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.metrics.points import PARTITIONS, PRESETS, UNCHECKED
from ivector.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.formats.speakers import TrialSpeakers
    from fusion.formats.tables import Trials
    from fusion.intervals.bootstrap import BootstrapResult
    from fusion.intervals.results import Interval
    from fusion.terminal.evaluate_text import Asked

_SAME_PHONE = "phonenummatch"  # as `plain` writes it


@dataclass(frozen=True)
class Partitioned:
    """Partition of each trial.

    Parameters
    ----------
    names : tuple of str
        Columns.
    codes : ndarray (n_trials,) int64
        Numbers from 0, -1 for trials that do not count.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    @property
    def words(self) -> str:
        """How many there are, of which columns."""
        n_partitions = len({*self.codes.tolist()} - {-1})
        return f"{n_partitions} partitions ({', '.join(self.names)})"


def add_partition_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the partitions."""
    add = parser.add_argument
    add("--partitions", nargs="+", default=[], metavar="COLUMN",
        help="columns of TRIALS or of --columns by which the C_primary of an evaluation is "
        "equalised; without it those of the evaluation, if TRIALS has them all")  # fmt: skip
    add("--columns", nargs="+", default=[], type=Path, metavar="FILE",
        help="tables with a header 'enrol test COLUMN...' or 'id COLUMN...'")  # fmt: skip


def check_partition_options(arguments: argparse.Namespace, presets: Sequence[str]) -> None:
    """Refuse options that make no sense together."""
    if arguments.partitions and not presets:
        raise UsageError("--partitions: needs --points with an evaluation that has a C_primary")
    if arguments.columns and not arguments.partitions:
        raise UsageError("--columns: needs --partitions, which names the columns to take")


def partitioned(
    arguments: argparse.Namespace, trials: Trials, presets: Sequence[str]
) -> dict[str, Partitioned]:
    """Partitions of the trials for each evaluation, of those that have any.

    Raises
    ------
    DataError
        A table cannot be read, or lacks a trial.
    UsageError
        Nothing has a column that is named.
    """
    wanted = {name: tuple(arguments.partitions) or PARTITIONS.get(name, ()) for name in presets}
    names = [*dict.fromkeys(name for some in wanted.values() for name in some)]
    if not names:
        return {}
    from fusion.formats.measures import key_columns, read_columns, trial_columns

    found = key_columns([arguments.trials, *arguments.more_trials], names)
    if arguments.columns:
        tables = trial_columns([read_columns(path) for path in arguments.columns], trials)
        found = {**tables, **found}
    missing = [name for name in arguments.partitions if name not in found]
    if missing:
        raise UsageError(
            f"--partitions: neither {trials.origin.name} nor a table of --columns has a column "
            f"{missing[0]!r}"
        )
    return {
        preset: Partitioned(some, _codes([found[name] for name in some], some, trials))
        for preset, some in wanted.items()
        if some and all(name in found for name in some)
    }


def _codes(columns: list[np.ndarray], names: Sequence[str], trials: Trials) -> np.ndarray:
    """Number of each trial's partition (n_trials,) int64.

    Nontarget trials of the same telephone do not count, as in NIST's scorer.
    """
    import numpy as np

    from fusion.formats.headers import plain
    from fusion.formats.layouts import NONTARGET

    codes, same_phone = np.zeros(len(trials), np.int64), np.zeros(len(trials), bool)
    for name, column in zip(names, columns):
        values, numbers = np.unique(column, return_inverse=True)
        codes = codes * len(values) + numbers.reshape(-1)
        if plain(name) == _SAME_PHONE:
            same_phone |= column == "Y"
    codes[same_phone & (trials.labels == NONTARGET)] = -1
    return codes


def equalised_costs(
    scores: np.ndarray,
    target: np.ndarray,
    told: TrialSpeakers | None,
    pooled: BootstrapResult | None,
    asked: Asked,
    parts: dict[str, Partitioned],
    arguments: argparse.Namespace,
) -> dict[tuple[str, str], dict[str, Any]]:
    """Equalised C_primary of a system, with its interval, by metric and evaluation."""
    if not parts:
        return {}
    from fusion.intervals.equalised import equalised_intervals
    from fusion.intervals.results import told_ends
    from fusion.metrics.equalised import EqualisedPoints
    from fusion.metrics.table import METRICS

    metrics = [m for m in METRICS.values() if m.mean and (asked.llr or not m.needs_llr)]
    costs = {}
    for preset, part in parts.items():
        points = EqualisedPoints(scores, target, part.codes, PRESETS[preset])
        means = {m.name: points.actual() if m.needs_llr else points.least() for m in metrics}
        intervals: dict[str, Interval] = {}
        if told and pooled:
            keys = [asked.keys(metric, preset) for metric in metrics]
            found = equalised_intervals(
                points, told.enrol, told.test, pooled, keys,
                n_bootstrap=arguments.bootstrap, random_state=arguments.seed,
            )  # fmt: skip
            intervals = dict(zip(means, found))
        for name, mean in means.items():
            costs[name, preset] = {
                "c_primary": float(mean.mean()),
                "interval": told_ends(intervals.get(name)),
                "partitions": list(part.names),
                "n_partitions": points.n_partitions,
            }
    return costs


def partition_notes(presets: Sequence[str], parts: dict[str, Partitioned]) -> list[str]:
    """What to know of the C_primary of each evaluation."""
    notes = []
    for preset in presets:
        words = []
        if preset in parts:
            words.append(f"equalised over {parts[preset].words}")
        elif preset in PARTITIONS:
            columns = ", ".join(PARTITIONS[preset])
            words.append(
                f"of all trials alike, as TRIALS has not all columns of its partitions ({columns}; "
                "--partitions names others)"
            )
        if preset in UNCHECKED:
            words.append(UNCHECKED[preset])
        if words:
            notes.append(f"C_primary({preset}): {'; '.join(words)}.")
    return notes
