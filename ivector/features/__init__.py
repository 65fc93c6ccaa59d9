"""From recordings to features: reading audio, MFCC and log-mel, VAD, normalisation, a store.

audio         recordings to samples: read whole or refused, one channel, one rate, Kaldi's scale
containers    what each format promises to hold, so that one cut short is not taken for whole
extractors    MFCC and log-mel features, with Kaldi's options and numbers
base          what both share: checks of options, framing, dither
frontend      the arithmetic behind them: framing, windows, triangles, cosine transform
psf           the numbers of python_speech_features, from the same arithmetic
vad           voice activity by energy, Kaldi's, and what to do where there is no voice
deltas        dynamic features: deltas and shifted delta cepstra
cmvn          mean and variance normalisation, sliding or over a recording
warping       feature warping and RASTA, two remedies against channels
frames        checks that everything working on frames shares
scale         samples in ±1, and energies of such, to the scale of 16-bit integers
stateless     scikit-learn's manners of estimators that learn nothing
store         log-mel energies of a whole corpus on disk, read by utterance
kaldi_fft     Kaldi's Fourier transform of lengths that are no power of two, as a matrix
kernels       numba: from samples to log-mel energies or cepstra, a block of frames at a time
kernels_fft   numba: power spectra of a block of frames, one a lane
kernels_cmvn  numba: deltas, sliding normalisation, sliding ranks
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
