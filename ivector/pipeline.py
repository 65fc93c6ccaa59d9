"""From stored static features to the frames that models see.

T  frames of a recording; V, those of them that are voiced
D  static dimensions; E, dimensions put out

MFCC are computed once and stored; everything after them costs less than reading them, and so is
applied on the fly, in training and extraction alike, by one `FrontEnd`. The order is that of
Kaldi's ``sid`` recipes: deltas, sliding mean, then the voiced frames.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.deltas import delta_filters, shifted_delta_cepstra
from ivector.features.frames import check_frames, check_mask, check_whole
from ivector.features.warping import check_window, rasta, warp_voiced

NORMALISATIONS = ("cmn", "cmvn", "warping", "global_cmn", "global_cmvn", "none")


@dataclass(frozen=True)
class FrontEnd:
    """Post-processing of static features; its options as one picklable object.

    Parameters
    ----------
    delta_order, delta_window : int
        Deltas appended (0: none) and the frames on either side that they are fitted to.
    normalisation : {"cmn", "cmvn", "warping", "global_cmn", "global_cmvn", "none"}
        Sliding mean; sliding mean and variance; feature warping; the first two over the whole
        recording; nothing.
    cmn_window : int
        Frames of the sliding window; for "warping" too.
    min_cmn_window : int
        Frames of the first windows at least, without `center`.
    center : bool
        The sliding window lies around its frame (always for "warping").
    sdc : (n, d, p, k), optional
        Append shifted delta cepstra instead of deltas; needs ``delta_order=0``.
    rasta : bool
        Band-pass filter the static features first. Takes the place of "cmn" as a rule.
    voiced_only : bool
        Keep the voiced frames only. Windows and deltas always see all frames.

    Raises
    ------
    UsageError
        On construction, from an option that makes no sense.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import FrontEnd
    >>> FrontEnd().apply(np.ones((4, 20)), np.array([True, False, True, True])).shape
    (3, 60)
    """

    delta_order: int = 2
    delta_window: int = 3
    normalisation: str = "cmn"
    cmn_window: int = 300
    min_cmn_window: int = 100
    center: bool = True
    sdc: Sequence[int] | None = None
    rasta: bool = False
    voiced_only: bool = True

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            check_whole(name, getattr(self, name), least)
        if self.normalisation not in NORMALISATIONS:
            raise UsageError(
                f"normalisation must be one of {', '.join(NORMALISATIONS)}, "
                f"got {self.normalisation!r}"
            )
        if self.normalisation == "warping":
            check_window(self.cmn_window)
        if self.sdc is None:
            return
        if self.delta_order:
            raise UsageError("sdc takes the place of deltas; set `delta_order`=0")
        # As a tuple, whatever it was read from: hashable and equal after JSON.
        object.__setattr__(self, "sdc", tuple(self.sdc))
        if len(self.sdc) != 4:
            raise UsageError(f"sdc must be four numbers n, d, p, k, got {self.sdc!r}")
        for name, value in zip("ndpk", self.sdc):
            check_whole(f"sdc {name}", value, 1)

    def n_dims(self, n_static: int) -> int:
        """Return the dimensions put out for `n_static` static ones."""
        if self.sdc is not None:
            return n_static + self.sdc[0] * self.sdc[3]
        return n_static * (self.delta_order + 1)

    def options(self) -> dict[str, Any]:
        """Return the options, for JSON; ``FrontEnd(**options)`` is this object again."""
        options = asdict(self)
        if self.sdc is not None:
            options["sdc"] = list(self.sdc)
        return options

    def apply(self, static: np.ndarray, voiced: np.ndarray | None = None) -> np.ndarray:
        """Process one recording.

        Parameters
        ----------
        static : ndarray (n_frames, n_static)
            Log energy or C0 first, as `MFCC` gives them.
        voiced : ndarray (n_frames,), optional
            Decisions of a `EnergyVAD`, boolean or 0 and 1. Without them, or without
            `voiced_only`, all frames are put out.

        Returns
        -------
        ndarray (n_voiced, n_dims), float32
            Where no frame is voiced, (0, n_dims): what to do about it is for the caller to
            decide, see `ivector.features.vad.voiced_or_loudest`.

        Raises
        ------
        DataError
            Features that are not a finite matrix, or decisions of another length.
        """
        static = check_frames(static, "static features")
        every = voiced is None or not self.voiced_only
        keep = np.ones(len(static), bool) if every else check_mask(voiced, len(static))
        if not keep.any():
            return np.empty((0, self.n_dims(static.shape[1])), np.float32)
        return self._normalise(self._dynamic(rasta(static) if self.rasta else static), keep)

    def _dynamic(self, static: np.ndarray) -> np.ndarray:
        if self.sdc is not None:
            return np.hstack([static, shifted_delta_cepstra(static, *self.sdc)])
        if not self.delta_order:
            return static
        from ivector.features.kernels_cmvn import filter_deltas

        n_frames, n_dims = static.shape
        out = np.empty((n_frames, (self.delta_order + 1) * n_dims), np.float32)
        filters = _filters(self.delta_order, self.delta_window)
        filter_deltas(static, filters, self.delta_order * self.delta_window, out)
        return out

    def _normalise(self, features: np.ndarray, keep: np.ndarray) -> np.ndarray:
        if self.normalisation == "none":
            return features[keep]
        if self.normalisation == "warping":
            return warp_voiced(features, keep, self.cmn_window)
        norm_vars = self.normalisation.endswith("cmvn")
        if self.normalisation.startswith("global"):
            # Here, as scikit-learn comes with it, which most front-ends do without.
            from ivector.features.cmvn import apply_cmvn, compute_cmvn_stats

            return apply_cmvn(features[keep], compute_cmvn_stats(features), norm_vars)
        from ivector.features.kernels_cmvn import sliding_cmvn

        out = np.empty((np.count_nonzero(keep), features.shape[1]), np.float32)
        sliding_cmvn(
            features, keep, self.cmn_window, self.min_cmn_window, self.center, norm_vars, out
        )
        return out


_LEAST = {"delta_order": 0, "delta_window": 1, "cmn_window": 1, "min_cmn_window": 1}


@functools.lru_cache(maxsize=16)
def _filters(order: int, window: int) -> np.ndarray:
    return delta_filters(order, window).astype(np.float32)
