"""Kaldi's commands of this package by name, in the order of a recipe."""

from __future__ import annotations

from typing import Any

from ivector.base.kaldi_cli.declared import Program
from ivector.kaldi import copying, extractor, frames, mixtures, posteriors, sound


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
            mixtures.gmm_global_init_from_feats,
            mixtures.gmm_global_acc_stats,
            mixtures.gmm_global_sum_accs,
            mixtures.gmm_global_est,
            mixtures.gmm_global_to_fgmm,
            posteriors.gmm_gselect,
            mixtures.fgmm_global_acc_stats,
            mixtures.fgmm_global_sum_accs,
            mixtures.fgmm_global_est,
            mixtures.fgmm_global_to_gmm,
            posteriors.fgmm_global_gselect_to_post,
            posteriors.scale_post,
            extractor.ivector_extractor_init,
            extractor.ivector_extractor_acc_stats,
            extractor.ivector_extractor_sum_accs,
            extractor.ivector_extractor_est,
            extractor.ivector_extract,
            extractor.ivector_extract_online,
            copying.copy_feats,
            copying.copy_vector,
            copying.copy_matrix,
            copying.feat_to_len,
            copying.subsample_feats,
            mixtures.gmm_global_copy,
            mixtures.fgmm_global_copy,
            extractor.ivector_extractor_copy,
            posteriors.copy_post,
            posteriors.copy_gselect,
        )
    },
    {"wave": _wave},
)
