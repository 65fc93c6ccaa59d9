"""Magnitude spectrograms as VGG-M takes them: 512 bins of a transform of 1,024 points.

16 kHz, Hamming windows of 25 ms every 10 ms, magnitudes of the bins from 0 Hz up to just below
8 kHz; 3.015 s make 300 frames. Each bin is then of mean 0 and variance 1 over the frames
(`dnn.data.sources.normalise_features`), which is left to the reader, as it depends on the crop.
A. Nagrani, J. S. Chung, A. Zisserman, Interspeech 2017, section 4.1. With ``log=True`` it is the
logarithm of one plus the magnitude, in the scale of 16-bit integers, in which soft sounds count.

T  frames
F  bins
"""

from __future__ import annotations

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.audio import check_samples

BLOCK_FRAMES = 64  # transformed together: their spectra stay in the second-level cache


class Spectrogram:
    """Magnitude spectrogram; used like `ivector.features.extractors.LogMel`.

    Parameters
    ----------
    sample_frequency : float
        Hz.
    frame_length, frame_shift : float
        Milliseconds.
    n_fft : int
        Points of the transform; half of them are kept.
    log : bool
        The logarithm of one plus the magnitudes.
    """

    def __init__(
        self,
        sample_frequency: float = 16000,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        n_fft: int = 1024,
        log: bool = False,
    ):
        self.sample_frequency = sample_frequency
        self.frame_length = frame_length
        self.frame_shift = frame_shift
        self.n_fft = n_fft
        self.log = log
        length, shift = self._sizes()
        if length < 2 or shift < 1 or n_fft < length or n_fft % 2:
            raise UsageError(
                f"a window of {length} samples every {shift} does not fit n_fft={n_fft}, which is "
                "even and no shorter"
            )

    @property
    def n_features(self) -> int:
        """Bins of a frame."""
        return self.n_fft // 2

    def n_frames(self, n_samples: int) -> int:
        """Return the number of whole windows in a recording of `n_samples`."""
        length, shift = self._sizes()
        return max(0, (n_samples - length) // shift + 1)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Compute the spectrogram of samples (n_samples,): (n_frames, n_features) float32.

        Raises
        ------
        DataError
            Samples that are not one-dimensional and finite.
        """
        from scipy.fft import rfft

        samples = check_samples(X)
        length, shift = self._sizes()
        n_frames = self.n_frames(len(samples))
        out = np.empty((n_frames, self.n_features), np.float32)
        if not n_frames:
            return out
        window = np.hamming(length).astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::shift]
        for first in range(0, n_frames, BLOCK_FRAMES):
            block = frames[first : first + BLOCK_FRAMES] * window
            spectrum = rfft(block, self.n_fft)[:, : self.n_features]
            np.abs(spectrum, out=out[first : first + BLOCK_FRAMES])
        return np.log1p(out, out=out) if self.log else out

    def _sizes(self) -> tuple[int, int]:
        """Samples of a window and of a shift."""
        rate = self.sample_frequency / 1000
        return round(rate * self.frame_length), round(rate * self.frame_shift)
