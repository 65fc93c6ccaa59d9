"""Kernel that unpacks some frames of a compressed matrix.

T  frames of the matrix, or of the part that is wanted
D  dimensions of a frame
"""

from __future__ import annotations

import numpy as np

from ivector.base.jit import njit


@njit(cache=True, nogil=True)
def unpack_columns(codes, knots, start, out):
    """Unpack frames of Kaldi's ``CompressedMatrix`` kSpeechFeature (``CharToFloat``).

    Parameters
    ----------
    codes : (D, T) uint8
        Column by column, as the file has them.
    knots : (D, 4) float32
        Least, quarter, three-quarter and largest value of each column.
    start : int
        First frame wanted.
    out : (T', D) float32
    """
    values = np.empty(256, np.float32)
    for d in range(codes.shape[0]):
        low, quarter, three, high = knots[d, 0], knots[d, 1], knots[d, 2], knots[d, 3]
        # All 256 values first: three loops without branches, cheaper than guessing each frame's.
        for code in range(65):
            values[code] = low + (quarter - low) * np.float32(code) * np.float32(1 / 64.0)
        for code in range(65, 193):
            steps = np.float32(code - 64)
            values[code] = quarter + (three - quarter) * steps * np.float32(1 / 128.0)
        for code in range(193, 256):
            steps = np.float32(code - 192)
            values[code] = three + (high - three) * steps * np.float32(1 / 63.0)
        for t in range(out.shape[0]):
            out[t, d] = values[codes[d, start + t]]
