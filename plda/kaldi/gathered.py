"""Vectors of Kaldi's tables as matrices, with what tables say of their speakers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ivector.base.errors import DataError
from ivector.base.kaldi_cli.tally import Tally


def gather(table: Iterable[tuple[str, np.ndarray]], what: str) -> tuple[list[str], np.ndarray]:
    """Ids and vectors (N, D) float32 of a table.

    Raises
    ------
    DataError
        No vectors, or vectors of different dimensions; names the first.
    """
    ids: list[str] = []
    rows: list[np.ndarray] = []
    for key, vector in table:
        if rows and len(vector) != len(rows[0]):
            raise DataError(
                f"{what}: {key} has {len(vector)} dimensions and {ids[0]} {len(rows[0])}; they "
                "come from different extractors"
            )
        ids.append(key)
        rows.append(vector)
    if not rows:
        raise DataError(f"{what}: holds no vectors")
    return ids, np.stack(rows).astype(np.float32)


def of_speakers(
    spk2utt: Iterable[tuple[str, list[str]]], vectors: Any
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Vectors (N, D) of the utterances of speakers, the speaker of each, and all these speakers.

    What has no vector is left out with a warning, as Kaldi does.

    Raises
    ------
    DataError
        No vector of any speaker.
    """
    utterances, speakers = Tally(), Tally("speakers")
    known: list[str] = []
    rows: list[tuple[str, np.ndarray]] = []
    labels: list[str] = []
    for speaker, words in spk2utt:
        n_before = len(rows)
        for key in words:
            vector = vectors.get(key)
            if vector is None:
                utterances.miss(key, "no vector")
                continue
            rows.append((key, vector))
            labels.append(speaker)
        if len(rows) == n_before:
            speakers.miss(speaker, "no utterance has a vector")
            continue
        known.append(speaker)
    utterances.done, speakers.done = len(rows), len(known)
    utterances.end()
    speakers.end()
    return gather(rows, "the vectors")[1], np.array(labels), known


def in_blocks(table: Any, out: Any, function: Any, what: str) -> None:
    """Write what a function makes of all vectors (N, D) of a table together."""
    ids, vectors = gather(table, what)
    for key, vector in zip(ids, function(vectors)):
        out.write(key, vector)
