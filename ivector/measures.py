"""What a recording sounds like in a few numbers, whoever speaks: to notice another domain.

T  frames of a recording, D static features (log energy or C0 first)

Everything is taken from static features and voice activity, which exist anyway. Cepstral mean
normalisation removes what these numbers tell, so that models do not see it; but what it cannot
remove with them, as noise or a codec, is what makes scores go wrong in another place.

    duration   log of the frames
    dynamics   share of voiced frames; spans of the log energy between its 5th and 95th and its
               25th and 75th percentiles: noise fills the pauses and narrows them
    spectrum   mean of the voiced frames without their level: bandwidth, microphone, room
    spread     deviations of the voiced frames: noise and reverberation flatten them
    pauses     mean of the unvoiced frames without their level: the colour of what is not speech
    roughness  how much of the deviation is between neighbouring frames, and of that between
               neighbouring differences, as logarithms: codecs, and hardly the speaker or the text
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ivector.base.errors import DataError
from ivector.features.frames import check_frames, check_mask

_FEWEST = 5  # frames of pauses; with fewer the quietest tenth stands for them
_TINY = 1e-3  # added to deviations, which may be 0

# Of D static features a group has a D + b numbers: a and b.
GROUPS = {
    "duration": (0, 1),
    "dynamics": (0, 3),
    "spectrum": (1, -1),
    "spread": (1, 0),
    "pauses": (1, -1),
    "roughness": (2, 0),
}


def groups(n_measures: int) -> dict[str, slice]:
    """Where each group stands among so many numbers, as `measure` gives them."""
    each, fixed = np.sum(list(GROUPS.values()), axis=0)
    n_dims = (n_measures - fixed) // each
    ends = np.cumsum([a * n_dims + b for a, b in GROUPS.values()]).tolist()
    return dict(zip(GROUPS, map(slice, [0, *ends], ends)))


def measure(static: Any, voiced: Any) -> np.ndarray:
    """Numbers that tell what a recording sounds like: see the module's text.

    Parameters
    ----------
    static : array_like (n_frames, n_features)
        As `MFCC` gives them, log energy or C0 first.
    voiced : array_like (n_frames,)
        Decisions of `EnergyVAD`.

    Returns
    -------
    ndarray (n_measures,), float32
        In the order of `groups`.

    Raises
    ------
    DataError
        No frames, or features that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector.measures import groups, measure
    >>> X = np.random.default_rng(0).normal(size=(200, 20)) * 3
    >>> found = measure(X, np.arange(200) % 4 > 0)
    >>> found.shape, groups(len(found))["dynamics"], float(found[1])
    ((102,), slice(1, 4, None), 0.75)
    """
    X = check_frames(static).astype(np.float64)
    is_voiced = check_mask(voiced, len(X))
    if not len(X):
        raise DataError("no frames to tell what a recording sounds like; leave it out")
    energy = X[:, 0]
    low, early, late, high = np.percentile(energy, [5, 25, 75, 95])
    share = is_voiced.mean()
    speech = X[is_voiced] if is_voiced.any() else X
    pauses = ~is_voiced
    if pauses.sum() < _FEWEST:
        pauses = energy <= np.percentile(energy, 10)
    found = [
        [np.log(len(X)), share, high - low, late - early],
        speech[:, 1:].mean(axis=0),
        speech.std(axis=0),
        X[pauses, 1:].mean(axis=0),
        _roughness(X, is_voiced),
    ]
    return np.concatenate(found).astype(np.float32)


def _roughness(X: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Log deviations of differences over those of second differences, and over those of frames.

    Of neighbours that are all voiced, if there are some; 0 where there are no second differences.
    """
    if len(X) < 3:
        return np.zeros(2 * X.shape[1])
    first, second = np.diff(X, axis=0), np.diff(X, n=2, axis=0)
    both, three = voiced[1:] & voiced[:-1], voiced[2:] & voiced[1:-1] & voiced[:-2]
    if three.sum() < _FEWEST:
        voiced, both, three = (np.ones(len(part), bool) for part in (X, first, second))
    values, steps, turns = (
        np.log(part[rows].std(axis=0) + _TINY)
        for part, rows in ((X, voiced), (first, both), (second, three))
    )
    return np.concatenate([steps - turns, steps - values])
