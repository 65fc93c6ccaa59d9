"""The scale of samples: that of 16-bit integers is expected, floats in ±1 are recognised.

Thresholds and floors of the features, Kaldi's, are for samples in [−32768, 32767]. Most libraries
read audio as floats in [−1, 1], whose log energies are 2 ln 32768 = 20.8 lower: every frame would
be below the threshold of the voice activity detection. `samples_in_16_bit` and
`log_energy_in_16_bit` put this right, with a `ScaleWarning` from their callers; the option
``full_scale`` says the scale instead. `ivector.features.audio.read_audio` gives that of 16 bits.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from ivector.base.errors import ScaleWarning, UsageError, warn_caller
from ivector.features.audio import FULL_SCALE, LARGEST, check_samples

# Resampling, lossy coding and mixing make floats in ±1 overshoot.
LARGEST_FLOAT = 2.0
# A frame of 3000 samples at ±1 has a log energy of 8.0. Speech in 16 bits is far above: frames of
# 400 samples reach it with a root mean square of 2.7.
LOUDEST_FLOAT = 8.0
# Whole numbers that are not all equal have a variance: a frame that is not digital silence has
# squares that sum to about 1 at least, a log energy of 0.
QUIETEST_INTEGER = -1.0
# Digital silence has the floor under logarithms, or a lower one; no scale changes it.
SILENCE = float(np.log(np.finfo(np.float32).eps)) + 1e-3


def check_full_scale(value: Any) -> None:
    """Check the option ``full_scale``: a number from 1, or None."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if value is not None and not (number and 1 <= value <= LARGEST):
        raise UsageError(
            "full_scale must be a number from 1, such as 32768 (16-bit integers) or 1 (floats in "
            f"±1), or None, got {value!r}"
        )


def samples_in_16_bit(
    samples: Any, full_scale: float | None, name: str = "recording"
) -> tuple[np.ndarray, bool]:
    """Samples of a recording as float32 in the scale of 16-bit integers.

    Parameters
    ----------
    samples : array_like (n_samples,)
    full_scale : float or None
        The number that stands for full scale in `samples`. None recognises ±1: floats no greater
        than 2 that are not all whole numbers. An integer type never is, nor silence in the scale
        of 16 bits, zeros or the ±1 of a dither, as these are whole numbers.
    name : str
        What errors call the recording.

    Returns
    -------
    samples : ndarray (n_samples,), float32
    recognised : bool
        Whether ±1 was recognised, which the caller warns of.

    Raises
    ------
    DataError
        As `check_samples`.
    """
    given = np.asarray(samples)
    checked = check_samples(given, name)
    recognised = full_scale is None and given.dtype.kind in "fO" and _in_one(checked)
    factor = _factor(full_scale, recognised)
    return (checked if factor == 1.0 else checked * np.float32(factor)), recognised


def _in_one(samples: np.ndarray) -> bool:
    if not len(samples) or max(-samples.min(), samples.max()) > LARGEST_FLOAT:
        return False
    return bool(np.any(samples != np.rint(samples)))


def log_energy_in_16_bit(
    log_energy: np.ndarray, full_scale: float | None
) -> tuple[np.ndarray, bool]:
    """Log energies of frames (n_frames,) as samples in the scale of 16-bit integers have them.

    Energies are those of ±1 where even the loudest frame is as faint as such samples are, and
    some frame has an energy that whole numbers cannot have. Silence in the scale of 16 bits has
    no such frame: digital silence is at the floor, and a dither of ±1 above 0.

    Returns
    -------
    log_energy : ndarray (n_frames,)
        Frames of digital silence are left as they are.
    recognised : bool
    """
    sounding = log_energy > SILENCE
    recognised = (
        full_scale is None
        and bool(np.any(sounding & (log_energy < QUIETEST_INTEGER)))
        and float(log_energy.max()) <= LOUDEST_FLOAT
    )
    shift = 2 * np.log(_factor(full_scale, recognised))
    return (np.where(sounding, log_energy + shift, log_energy) if shift else log_energy), recognised


def _factor(full_scale: float | None, recognised: bool) -> float:
    return FULL_SCALE / (1.0 if recognised else full_scale or FULL_SCALE)


def warn_of_scale(what: str, done: str) -> None:
    """Warn that ±1 was recognised in `what`."""
    warn_caller(
        f"{what} in the scale ±1 instead of that of 16-bit integers: {done}; say `full_scale`=1 "
        "to have this without a warning, or `full_scale`=32768 if the recording is as good as "
        "silent",
        ScaleWarning,
    )
