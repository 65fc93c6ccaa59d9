"""What a training refuses before anything is computed, and what its data cannot determine."""

from __future__ import annotations

from typing import Any

import numpy as np

from ivector.base.budget import require_memory
from ivector.base.errors import UsageError
from ivector.total_variability.e_step import Accumulators, training_bytes


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


def check_warm_start(model: Any) -> None:
    """Refuse to go on from a model of other options than the present ones.

    Raises
    ------
    UsageError
        Says which.
    """
    present = model.subspace()
    form = "kaldi" if present.ubm_means is None else "classical"
    if (model.rank, model.parametrisation) != (present.rank, form):
        raise UsageError(
            f"warm_start: the present model is {form} of rank {present.rank}, the options "
            f"ask for {model.parametrisation} of rank {model.rank}"
        )


def check_memory(model: Any, shape: tuple[int, ...]) -> None:
    """Refuse to train where the sums alone exceed option `memory`.

    Parameters
    ----------
    model : TotalVariability
    shape : (int, int, int)
        Components, features and rank.

    Raises
    ------
    UsageError
        They do.
    """
    if model.memory:
        require_memory(
            training_bytes(*shape),
            model.memory,
            f"training {shape[0]} components of {shape[1]} features at rank {shape[2]}",
            "a lower rank or a smaller UBM",
        )


def degeneracies(total: Accumulators, rank: int, min_count: float) -> list[str]:
    """What the training data cannot determine, with numbers and cure."""
    found = []
    n, frames, components = total.n_utterances, total.zeroth.sum(), len(total.zeroth)
    if n < 2 * rank:
        found.append(
            f"rank {rank} for {n} training utterances: they span at most {n} directions and "
            f"noise fills the rest; use at least {2 * rank} utterances or rank ≤ {max(n // 2, 1)}"
        )
    if frames < components * rank:
        found.append(
            f"{frames:.0f} frames for {components} components of rank {rank}: "
            f"{frames / components:.0f} frames determine {rank} columns of each; use a smaller "
            f"UBM, a lower rank or at least {components * rank} frames"
        )
    starved = np.flatnonzero(total.zeroth < min_count)
    if len(starved):
        found.append(
            f"{len(starved)} of {components} components have fewer than {min_count:g} frames "
            f"(component {starved[0]}: {total.zeroth[starved[0]]:.1f}) and keep their "
            "parameters; use a smaller UBM or more data"
        )
    return found
