"""Vectors of a fold as the stages keep them: i-vectors and embeddings by utterance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ivector.base.files import VECTORS, load_model, save_model


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """Vectors of a stage by utterance id."""
    arrays, _ = load_model(path, "vectors", VECTORS)
    return dict(zip(arrays["ids"].tolist(), arrays["vectors"]))


def write_vectors(path: Path, utterances: Sequence[str], vectors: np.ndarray) -> None:
    """Write vectors (n_utterances, n_dims)."""
    save_model(path, "vectors", {"ids": np.array(utterances), "vectors": vectors}, {})
