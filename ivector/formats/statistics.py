"""Baum-Welch statistics on disk: ``.npz`` files of this toolkit, one a shard of utterances."""

from __future__ import annotations

import os

from ivector.base.files import load_model, save_model
from ivector.statistics import BaumWelchStatistics

_KIND = "Baum-Welch statistics"


def write_statistics(path: str | os.PathLike, statistics: BaumWelchStatistics) -> None:
    """Write statistics with their centre and, where present, second-order sum."""
    arrays = {"zeroth": statistics.zeroth, "first": statistics.first}
    for name in ("second", "centre"):
        value = getattr(statistics, name)
        if value is not None:
            arrays[name] = value
    save_model(path, _KIND, arrays, {})


def read_statistics(path: str | os.PathLike) -> BaumWelchStatistics:
    """Read what `write_statistics` wrote.

    Raises
    ------
    DataError
        Missing, damaged, or another kind of file.
    """
    arrays, _ = load_model(path, _KIND)
    return BaumWelchStatistics(
        arrays["zeroth"], arrays["first"], arrays.get("second"), arrays.get("centre")
    )
