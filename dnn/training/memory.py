"""What to say when a batch does not fit into a GPU's memory: one that does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dnn.extra import told_extra
from ivector.base.errors import DataError

with told_extra():
    import torch


def too_large(
    features: np.ndarray, n_parts: int, attempt: Callable[[int, np.ndarray], None]
) -> DataError:
    """The error that names a batch size that fits, found by halving.

    Parameters
    ----------
    features : ndarray (B, n_frames, n_features)
        The batch that did not fit.
    n_parts : int
        Parts that it was cut into.
    attempt : callable
        ``attempt(n_rows, features)`` takes the memory of a step on so many rows.
    """
    n_utterances, n_frames = features.shape[:2]
    largest = fitting = -(-n_utterances // n_parts)
    while fitting > 1:
        fitting //= 2
        if _fits(fitting, features, attempt):
            return DataError(
                f"a batch of {largest} utterances of {n_frames} frames does not fit into the GPU's "
                f"memory; {fitting} fit: take that as batch size, or cut batches into "
                f"{-(-n_utterances // fitting)} parts (accumulate)"
            )
    return DataError(
        f"not even one utterance of {n_frames} frames fits into the GPU's memory; take shorter "
        "crops or a smaller network"
    )


def _fits(n_rows: int, features: np.ndarray, attempt: Callable[[int, np.ndarray], None]) -> bool:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        attempt(n_rows, features)
    except torch.cuda.OutOfMemoryError:
        return False
    return True
