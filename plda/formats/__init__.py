"""Files of back-ends and of vectors.

models   back-ends: Kaldi's plda, transform.mat and mean.vec, and whole pipelines as .npz
vectors  vectors with their utterance ids, and counts: Kaldi's archives and .npz
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "load_model": "plda.formats.models",
        "read_mean": "plda.formats.models",
        "read_plda": "plda.formats.models",
        "read_transform": "plda.formats.models",
        "save_model": "plda.formats.models",
        "write_mean": "plda.formats.models",
        "write_plda": "plda.formats.models",
        "write_transform": "plda.formats.models",
    },
)
