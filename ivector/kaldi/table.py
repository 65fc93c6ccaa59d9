"""Kaldi's commands of this package by name, in the order of a recipe."""

from __future__ import annotations

from typing import Any

from ivector.base.kaldi_cli.declared import Program
from ivector.kaldi import copying, frames, sound


def _wave() -> Any:
    """Recordings as entries of tables, imported when a command has them."""
    from ivector.kaldi.recordings import holder

    return holder()


PROGRAM = Program(
    "ivector.kaldi",
    {
        command.name: command
        for command in (
            sound.compute_mfcc_feats,
            sound.compute_fbank_feats,
            sound.extract_segments,
            frames.compute_vad,
            frames.add_deltas,
            frames.apply_cmvn_sliding,
            frames.select_voiced_frames,
            copying.copy_feats,
            copying.copy_vector,
            copying.copy_matrix,
            copying.feat_to_len,
            copying.subsample_feats,
        )
    },
    {"wave": _wave},
)
