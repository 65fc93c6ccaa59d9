"""Files of back-ends and of vectors.

models   back-ends: Kaldi's plda, transform.mat and mean.vec, and whole pipelines as .npz
exchange  back-ends as folders of Kaldi, VBx, pyannote and DiariZen
normal_form  a chain as affine maps between length norms, as those folders hold it
sources  files of vectors of any toolkit, as blocks of ids and vectors
kaldi_vectors  Kaldi's archives and lists, as such blocks
array_vectors  .npz, .npy with ids, HDF5 and tables, as such blocks
pickles  dumps that are refused, with the line of Python that converts them
vectors  vectors with their utterance ids read whole and written, and counts
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
