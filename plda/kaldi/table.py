"""Kaldi's commands of this package by name, in the order of a recipe."""

from __future__ import annotations

from ivector.base.kaldi_cli.declared import Program
from plda.kaldi import models, scoring, vectors

PROGRAM = Program(
    "plda.kaldi",
    {
        command.name: command
        for command in (
            vectors.ivector_mean,
            vectors.ivector_subtract_global_mean,
            vectors.ivector_normalize_length,
            vectors.transform_vec,
            vectors.ivector_transform,
            models.ivector_compute_lda,
            models.ivector_compute_plda,
            models.ivector_copy_plda,
            models.ivector_adapt_plda,
            scoring.ivector_compute_dot_products,
            scoring.ivector_plda_scoring,
            scoring.ivector_plda_scoring_dense,
            scoring.compute_eer,
        )
    },
)
