"""Files of back-ends and of vectors.

models   back-ends: Kaldi's plda, transform.mat and mean.vec, and whole pipelines as .npz
exchange  back-ends as folders of Kaldi, VBx, pyannote and DiariZen
normal_form  a chain as affine maps between length norms, as those folders hold it
vectors  vectors with their utterance ids, and counts: Kaldi's archives and .npz
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
