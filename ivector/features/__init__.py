"""From recordings to features: reading audio, MFCC and log-mel, VAD, normalisation, a store.

extractors    MFCC and log-mel features of a recording, with Kaldi's options and numbers.
base          What MFCC and log-mel features share: checks of options, framing, dither.
frontend      The arithmetic behind every flavour of features: framing, windows, triangles, cosine
              transform.
psf           The numbers of python_speech_features, from the fast kernels.
audio         Recordings to samples: any format libsndfile reads, one channel, one rate, Kaldi's
              scale.
vad           Energy-based voice activity detection, Kaldi's, and what to do where it finds no
              voice.
cmvn          Cepstral mean and variance normalisation, over a sliding window or a whole recording.
deltas        Dynamic features: deltas of any order and shifted delta cepstra.
warping       Feature warping and RASTA filtering, two remedies against channels.
frames        Checks that everything working on frames shares.
kaldi_fft     Kaldi's Fourier transform of real frames whose length is no power of two, with its
              rounding.
kernels       From samples to log-mel energies or cepstra, a block of `LANES` frames at a time.
kernels_fft   Power spectra of a block of real frames, one frame a lane (see `_kernels_lanes`).
kernels_cmvn  Kernels of post-processing: delta filters, sliding normalisation, sliding ranks.
store         Log-mel store: the log-mel energies of a whole corpus, computed once, read by
              utterance.
store_writer  Makes log-mel stores, shard by shard; `ivector.features.store` reads them and says
              what they hold.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "LogMel": "ivector.features.extractors",
        "MFCC": "ivector.features.extractors",
        "TORCHAUDIO_OFFSET": "ivector.features.extractors",
    },
)
