"""Energy-based voice activity detection, Kaldi's, and what to do where it finds no voice.

T  frames of a recording

Follows ``ComputeVadEnergy`` of Kaldi's ``ivector/voice-activity-detection.cc``
(``compute-vad``).
"""

from __future__ import annotations

from numbers import Real

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.frames import check_frames, check_mask, check_whole
from ivector.features.scale import check_full_scale, log_energy_in_16_bit, warn_of_scale
from ivector.features.stateless import FrameTransformer

LOUDEST_SHARE = 0.1
LOUDEST_FRAMES = 10


class EnergyVAD(FrameTransformer):
    """Frames are voiced where most frames around them are louder than a threshold.

    The threshold follows the level of the recording: ``vad_energy_threshold +
    vad_energy_mean_scale * mean log energy``.

    Parameters
    ----------
    vad_energy_threshold : float
        Constant part of the threshold on the natural-log energy. Raise it where noise passes for
        speech; Kaldi's speaker recipes use 5.5.
    vad_energy_mean_scale : float
        Weight of the recording's mean log energy in the threshold; 0 makes the threshold
        absolute.
    vad_frames_context : int
        Frames on either side that have a say in a frame's decision.
    vad_proportion_threshold : float
        Share of these frames, between 0 and 1, that must be above the threshold. Below 0.5 with
        a context, pauses inside speech are kept.
    full_scale : float, optional
        The sample that stood for full scale in what the energies are of: 32768 for 16-bit
        integers, which the threshold is for, 1 for floats in ±1, whose energies are raised by
        2 ln 32768. By default ±1 is recognised, with a `ScaleWarning`, where even the loudest
        frame is as faint as such samples are and some frame is fainter than integers can be.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the features given to `fit`, if any were; `transform` works without.

    Notes
    -----
    The decisions are those of Kaldi's ``compute-vad``, energies of ±1 apart. `transform` gives a
    mask, not a table of features, so that there are no `set_output` and no names of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import EnergyVAD
    >>> EnergyVAD(vad_energy_threshold=5.5).transform(np.array([[5.0], [18.0], [17.0]]))
    array([False,  True,  True])
    """

    _dtypes = ()

    def __init__(
        self,
        vad_energy_threshold: float = 5.0,
        vad_energy_mean_scale: float = 0.5,
        vad_frames_context: int = 0,
        vad_proportion_threshold: float = 0.6,
        full_scale: float | None = None,
    ):
        self.vad_energy_threshold = vad_energy_threshold
        self.vad_energy_mean_scale = vad_energy_mean_scale
        self.vad_frames_context = vad_frames_context
        self.vad_proportion_threshold = vad_proportion_threshold
        self.full_scale = full_scale

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Decide for every frame.

        Parameters
        ----------
        X : ndarray (n_frames, n_dims)
            MFCC or others whose column 0 is the log energy (``use_energy=True``).

        Returns
        -------
        voiced : ndarray (n_frames,), bool

        Raises
        ------
        DataError
            Not a matrix of finite numbers.
        UsageError
            An option out of range.

        Warns
        -----
        ScaleWarning
            The energies are those of samples in ±1.
        """
        context = self._check()
        features = self.check_input(X)
        n_frames = len(features)
        if not n_frames:
            return np.zeros(0, bool)
        log_energy, recognised = log_energy_in_16_bit(features[:, 0].astype(float), self.full_scale)
        if recognised:
            warn_of_scale("log energies look like those of samples", "they were raised by 20.8")
        threshold = self.vad_energy_threshold + self.vad_energy_mean_scale * log_energy.mean()
        loud = np.concatenate([[0], np.cumsum(log_energy > threshold)])
        frame = np.arange(n_frames)
        first = np.maximum(frame - context, 0)
        last = np.minimum(frame + context + 1, n_frames)
        # In float32 as Kaldi's product: it decides where the share is met exactly.
        wanted = (last - first).astype(np.float32) * np.float32(self.vad_proportion_threshold)
        return loud[last] - loud[first] >= wanted

    def _check(self) -> int:
        """Check the options; return the context."""
        for name, value in self.get_params(deep=False).items():
            if name != "full_scale" and (isinstance(value, bool) or not isinstance(value, Real)):
                raise UsageError(f"{name} must be a number, got {value!r}")
        if not 0 < self.vad_proportion_threshold < 1:
            raise UsageError(
                "vad_proportion_threshold must be between 0 and 1, both excluded, "
                f"got {self.vad_proportion_threshold!r}"
            )
        if not self.vad_energy_mean_scale >= 0:
            raise UsageError(
                f"vad_energy_mean_scale must be 0 or more, got {self.vad_energy_mean_scale!r}"
            )
        check_full_scale(self.full_scale)
        return check_whole("vad_frames_context", self.vad_frames_context, 0)


def voiced_or_loudest(
    features: np.ndarray,
    vad: EnergyVAD,
    share: float = LOUDEST_SHARE,
    at_least: int = LOUDEST_FRAMES,
) -> tuple[np.ndarray, bool]:
    """Voiced frames, or the loudest ones of a recording where there are none.

    An almost silent recording still has to get a score in every trial it is in. Its loudest tenth,
    though hardly speech, is what a listener would have to go by as well.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
        Column 0 is the log energy.
    vad : EnergyVAD
    share : float
        Share of the frames to fall back on.
    at_least : int
        Their least number, as far as there are so many frames.

    Returns
    -------
    voiced : ndarray (n_frames,), bool
        With at least one True, unless there are no frames.
    fallback : bool
        Whether `vad` found nothing; recipes count and report these.
    """
    voiced = vad.transform(features)
    if voiced.any():
        return voiced, False
    n_kept = min(len(voiced), max(at_least, round(share * len(voiced))))
    # Stable: of equally loud frames, the first.
    loudest = np.argsort(-np.asarray(features)[:, 0], kind="stable")[:n_kept]
    voiced[loudest] = True
    return voiced, True


def select_voiced(features: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Keep the voiced frames, as Kaldi's ``select-voiced-frames``.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
    voiced : ndarray (n_frames,)
        Boolean, or numbers of which those other than 0 select.

    Returns
    -------
    ndarray (n_voiced, n_dims), float32
        Possibly with no frames.

    Raises
    ------
    DataError
        The numbers of frames and decisions differ.
    """
    features = check_frames(features)
    return features[check_mask(voiced, len(features))]
