"""Kaldi's commands from features to the frames that models see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ivector.base.errors import DataError, named
from ivector.base.kaldi_cli.declared import Lack, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

_FORM = "feats-rspecifier:matrix feats-wspecifier:matrix"


@kaldi_command(
    "compute-vad",
    "decide by the energy, column 0 of features, which frames are voiced",
    "feats-rspecifier:matrix vad-wspecifier:vector",
    Option("vad-energy-threshold", 5.0, "constant part of the threshold on the log energy"),
    Option("vad-energy-mean-scale", 0.5, "weight of the mean log energy in the threshold"),
    Option("vad-frames-context", 0, "frames on either side that have a say"),
    Option("vad-proportion-threshold", 0.6, "share of these that must be above the threshold"),
    Option("omit-unvoiced-utts", False, "write nothing of utterances without voiced frames"),
)
def compute_vad(options: Any, feats: Any, vad_out: Any) -> None:
    """Write a vector of 1 (voiced) and 0 for each utterance."""
    import numpy as np

    from ivector.features.audio import FULL_SCALE
    from ivector.features.vad import EnergyVAD

    vad = EnergyVAD(
        options.vad_energy_threshold, options.vad_energy_mean_scale, options.vad_frames_context,
        options.vad_proportion_threshold, FULL_SCALE,
    )  # fmt: skip
    tally = Tally()
    for key, matrix in _with_frames(feats, tally):
        with named(key):
            voiced = vad.transform(matrix)
        if not voiced.any():
            tally.unlike(key, "no frame is voiced")
        if voiced.any() or not options.omit_unvoiced_utts:
            vad_out.write(key, voiced.astype(np.float32))
            tally.done += 1
    tally.end()


@kaldi_command(
    "add-deltas",
    "append deltas to features",
    _FORM,
    Option("delta-order", 2, "deltas, and those of deltas, and so on"),
    Option("delta-window", 2, "frames on either side that a slope is fitted to"),
    Option("truncate", 0, "take the first columns alone, so many; 0 for all"),
    parameters={"order": "--delta-order", "window": "--delta-window"},
)
def add_deltas(options: Any, feats: Any, feats_out: Any) -> None:
    """Write features with deltas."""
    from ivector.features import deltas

    def added(matrix: Any) -> Any:
        if options.truncate > matrix.shape[1]:
            raise DataError(f"has {matrix.shape[1]} columns, --truncate={options.truncate}")
        kept = matrix[:, : options.truncate] if options.truncate > 0 else matrix
        return deltas.add_deltas(kept, options.delta_order, options.delta_window)

    _each(added, feats, feats_out)


@kaldi_command(
    "apply-cmvn-sliding",
    "normalise mean, and variance if asked, over a sliding window",
    _FORM,
    Option("cmn-window", 600, "frames"),
    Option("min-cmn-window", 100, "frames that the first windows hold at least, without --center"),
    Option("norm-vars", False, "normalise the variance, too"),
    Option("center", False, "the window around its frame, else before it"),
    Lack("max-warnings", "5", "what is to be warned of is told once a recording"),
)
def apply_cmvn_sliding(options: Any, feats: Any, feats_out: Any) -> None:
    """Write normalised features."""
    from ivector.features.cmvn import SlidingCMVN

    cmvn = SlidingCMVN(
        options.cmn_window, options.min_cmn_window, options.center, options.norm_vars
    )
    _each(cmvn.transform, feats, feats_out)


@kaldi_command(
    "select-voiced-frames",
    "keep the voiced frames of features",
    "feats-rspecifier:matrix vad-rspecifier:vector@id feats-wspecifier:matrix",
)
def select_voiced_frames(options: Any, feats: Any, vad: Any, feats_out: Any) -> None:
    """Write the frames that a vector of `compute-vad` selects."""
    from ivector.features.vad import select_voiced

    tally = Tally()
    for key, matrix in feats:
        voiced = vad.get(key)
        if voiced is None:
            tally.miss(key, "no voice decisions")
        elif len(voiced) != len(matrix):
            tally.miss(key, f"{len(matrix)} frames and {len(voiced)} voice decisions")
        elif not voiced.any():
            tally.miss(key, "no frame is voiced")
        else:
            with named(key):
                feats_out.write(key, select_voiced(matrix, voiced))
            tally.done += 1
    tally.end()


def _with_frames(feats: Any, tally: Tally) -> Iterator[tuple[str, Any]]:
    """Features of the utterances that have any; the others are missed."""
    for key, matrix in feats:
        if len(matrix):
            yield key, matrix
        else:
            tally.miss(key, "has no frames")


def _each(function: Callable[[Any], Any], feats: Any, feats_out: Any) -> None:
    """Write what a function makes of each utterance's features."""
    tally = Tally()
    for key, matrix in _with_frames(feats, tally):
        with named(key):
            feats_out.write(key, function(matrix))
        tally.done += 1
    tally.end()
