"""Options of a total-variability model, checked before anything is computed."""

from __future__ import annotations

from typing import Any

from ivector.base.errors import UsageError


def check_options(model: Any) -> None:
    """Refuse options of a `TotalVariability` that make no sense.

    Raises
    ------
    UsageError
        Says which.
    """
    if model.parametrisation not in ("kaldi", "classical"):
        raise UsageError(
            f"parametrisation is 'kaldi' or 'classical', got {model.parametrisation!r}"
        )
    if model.rank < 1 or model.n_iter < 0:
        raise UsageError(
            f"rank must be positive and n_iter not negative: {model.rank}, {model.n_iter}"
        )
    if model.parametrisation == "kaldi" and (model.prior_offset <= 0 or model.rank < 2):
        raise UsageError(
            "Kaldi's parametrisation needs a positive prior_offset and a rank of at least 2"
        )
    if not 0 < model.covariance_floor <= 1 or model.gaussian_min_count <= 0:
        raise UsageError(
            "covariance_floor must be in (0, 1] and gaussian_min_count positive, got "
            f"{model.covariance_floor} and {model.gaussian_min_count}"
        )
