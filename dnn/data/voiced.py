"""Stored static features as networks see them: normalised over a sliding window, voiced frames.

The order is that of Kaldi's ``prepare_feats_for_egs.sh``: the window sees all frames, and then the
voiced ones are kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnn.data.sources import ArraySource, Source
from ivector.base.errors import DataError, DegenerateDataWarning
from ivector.pipeline import FrontEnd

IN_MEMORY_BYTES = 1 << 30
FRONT_END = {"delta_order": 0, "normalisation": "cmn", "cmn_window": 300}


class FrontEndSource(Source):
    """Utterances of a source after an `ivector.pipeline.FrontEnd`.

    Every reading processes the whole utterance, whatever part is asked for: as quick as reading
    for cepstra, and without a second copy of the features on disk.

    Parameters
    ----------
    source : Source
        Static features.
    front_end : FrontEnd
    voiced : sequence of ndarray (n_frames,) bool, optional
        Decisions for every utterance; without them all frames are kept.

    Raises
    ------
    DataError
        Decisions for another number of frames.
    """

    def __init__(
        self, source: Source, front_end: FrontEnd, voiced: Sequence[np.ndarray] | None = None
    ):
        self.source, self.front_end = source, front_end
        self.voiced = None if voiced is None else [np.packbits(v) for v in voiced]
        self.ids = source.ids
        self.n_features = front_end.n_dims(source.n_features)
        self.lengths = source.lengths
        if voiced is not None:
            for key, length, mask in zip(source.ids, source.lengths, voiced):
                if len(mask) != length:
                    raise DataError(
                        f"{key}: has {length} frames and VAD decisions for {len(mask)}; make both "
                        "from the same features"
                    )
            if front_end.voiced_only:
                self.lengths = np.array([np.count_nonzero(v) for v in voiced], np.int64)

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        static = self.source.read(index)
        voiced = None
        if self.voiced is not None:
            voiced = np.unpackbits(self.voiced[index], count=len(static)).astype(bool)
        return np.ascontiguousarray(self.front_end.apply(static, voiced)[start:stop])


def read_decisions(path: str | os.PathLike, ids: Sequence[str]) -> list[np.ndarray]:
    """VAD decisions (n_frames,) bool of utterances, from ``vad.scp``.

    Raises
    ------
    DataError
        The list or an archive cannot be read, or an utterance has none.
    """
    from ivector.formats.arks import load_scp, read_scp

    return [decisions > 0.5 for _, decisions in load_scp(read_scp(path), ids)]


def open_front_end(
    features: str | os.PathLike,
    vad: str | os.PathLike | None = None,
    options: Mapping[str, Any] | None = None,
) -> FrontEndSource:
    """Features and decisions from Kaldi's lists (or a store), as networks take them.

    Parameters
    ----------
    features : path-like
        ``feats.scp``, a folder that holds it, or a log-mel store.
    vad : path-like, optional
        ``vad.scp``; without it all frames are kept.
    options : mapping, optional
        Of the `FrontEnd`; by default the sliding mean of 300 frames and no deltas.

    Raises
    ------
    DataError
        They cannot be read or do not fit each other.
    """
    from dnn.data.sources import Subset, open_features

    chosen = dict(FRONT_END if options is None else options)
    source: Source = open_features(features)
    if vad is None:
        return FrontEndSource(source, FrontEnd(**chosen))
    decisions = read_decisions(Path(vad), source.ids)
    full = FrontEndSource(source, FrontEnd(**chosen), decisions)
    silent = np.flatnonzero(full.lengths == 0)
    if not len(silent):
        return full
    import warnings

    warnings.warn(
        f"{len(silent)} of {len(source)} utterances have no voiced frame and are left out, the "
        f"first {source.ids[silent[0]]}; loosen the VAD if they hold speech",
        DegenerateDataWarning,
        stacklevel=2,
    )
    kept = np.flatnonzero(full.lengths)
    if not len(kept):
        raise DataError(f"{vad}: no utterance has a voiced frame; loosen the VAD")
    decisions = [decisions[i] for i in kept]
    return FrontEndSource(Subset(source, kept), full.front_end, decisions)


def in_memory(source: Source, limit: int = IN_MEMORY_BYTES) -> Source:
    """The source itself, or a copy in memory if that takes at most `limit` bytes."""
    if 4 * int(source.lengths.sum()) * source.n_features > limit:
        return source
    return ArraySource(source.ids, [source.read(i) for i in range(len(source.ids))])
