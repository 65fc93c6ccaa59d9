"""I-vector front-end: from recordings to features, a UBM, statistics and i-vectors.

features           reading audio, MFCC and log-mel, VAD, normalisation; a store of log-mels
pipeline           FrontEnd: from stored static features to the frames that models see
measures           what a recording sounds like, in numbers that tell one domain from another
gmm                Gaussian mixtures: diagonal and full UBM, MAP adaptation, verification
statistics         Baum-Welch statistics of utterances under a UBM
total_variability  the EM of T and Σ (e_step, m_step), and i-vectors
gpu                the heavy sums of UBM and total variability by torch, on a GPU
kaldi              Kaldi's commands by its names, options and tables
formats            Kaldi's archives and model files, statistics on disk
data               Kaldi data directories, trial lists, enrolment lists
recordings         what a user names: a data directory, a folder, a list of recordings
data_checks        every defect of a data directory, with file and line
store              the former name of features.store, kept for scripts
commands           the table of commands and their modules
base               what every room of the toolkit needs, the other packages' too
__main__           python -m ivector: lists the commands, or runs one

Names are imported on first use, so that importing the package (or one of its command-line
modules) loads neither numba nor scikit-learn before they are needed.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # told before any line that an older one cannot read
    _told = f"ivector-plda needs Python 3.10 or later, and {sys.executable} is older"
    # A command ends with this line alone.
    raise SystemExit(f"error: {_told}") if sys.argv[:1] == ["-m"] else ImportError(_told)

from ivector.base.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(__name__)
