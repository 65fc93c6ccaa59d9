"""Files of back-ends and of vectors.

models   Back-end models on disk: Kaldi's files (``plda``, ``transform.mat``, ``mean.vec``) and
         ``.npz``.
vectors  Vectors with their utterance ids on disk: Kaldi archives (text and binary) and ``.npz``.
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
