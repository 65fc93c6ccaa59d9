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
from ivector.base.jit import njit
from ivector.features.frames import check_frames, check_mask

_FEWEST = 5  # frames of pauses; with fewer the quietest tenth stands for them
_TINY = 1e-3  # added to deviations, which may be 0
_SPEECH, _STEPS, _TURNS, _PAUSES = range(4)  # frames, differences, second ones; other frames

# Of D static features a group has a D + b numbers, and differences below the third tell nothing.
GROUPS = {
    "duration": (0, 1, 0.05),
    "dynamics": (0, 3, 0.05),
    "spectrum": (1, -1, 0.2),
    "spread": (1, 0, 0.05),
    "pauses": (1, -1, 0.2),
    "roughness": (2, 0, 0.01),
}


def groups(n_measures: int) -> dict[str, slice]:
    """Where each group stands among so many numbers, as `measure` gives them."""
    each, fixed, _ = np.sum(list(GROUPS.values()), axis=0)
    n_dims = int((n_measures - fixed) // each)
    ends = np.cumsum([a * n_dims + b for a, b, _ in GROUPS.values()]).tolist()
    return dict(zip(GROUPS, map(slice, [0, *ends], ends)))


def resolution(n_measures: int) -> np.ndarray:
    """Differences (n_measures,) that tell nothing, for `ivector.base.domain.Domain`."""
    found = np.empty(n_measures)
    for name, part in groups(n_measures).items():
        found[part] = GROUPS[name][2]
    return found


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
    X = check_frames(static)
    is_voiced = check_mask(voiced, len(X))
    if not len(X):
        raise DataError("no frames to tell what a recording sounds like; leave it out")
    energy = np.sort(X[:, 0]).astype(np.float64)
    low, tenth, early, late, high = _quantiles(energy, [0.05, 0.1, 0.25, 0.75, 0.95])
    counts, sums, squares = _sums(X, is_voiced, ~is_voiced)
    share = counts[_SPEECH] / len(X)
    if counts[_PAUSES] < _FEWEST or not counts[_SPEECH]:
        pauses = ~is_voiced if counts[_PAUSES] >= _FEWEST else X[:, 0] <= tenth
        speech = is_voiced if counts[_SPEECH] else ~is_voiced
        counts, sums, squares = _sums(X, speech, pauses)
    means = sums / np.maximum(counts, 1)[:, None]
    spread = np.sqrt(np.maximum(squares / np.maximum(counts, 1)[:, None] - means**2, 0))
    found = [
        [np.log(len(X)), share, high - low, late - early],
        means[_SPEECH, 1:],
        spread[_SPEECH],
        means[_PAUSES, 1:],
        *_roughness(X, counts, spread),
    ]
    return np.concatenate(found).astype(np.float32)


def _quantiles(ordered: np.ndarray, levels: list[float]) -> list[float]:
    """Of ascending values, between neighbours by a straight line, as `numpy.quantile`."""
    places = np.array(levels) * (len(ordered) - 1)
    return np.interp(places, np.arange(len(ordered)), ordered).tolist()


def _roughness(X: np.ndarray, counts: np.ndarray, spread: np.ndarray) -> list[np.ndarray]:
    """Log deviations of differences over those of second differences, and over those of frames.

    Of neighbours that are all voiced, or of all where these are few; 0 where there are none.
    """
    if len(X) < 3:
        return [np.zeros(2 * X.shape[1])]
    if counts[_TURNS] < _FEWEST:
        every = np.ones(len(X), np.bool_)
        counts, sums, squares = _sums(X, every, every)
        spread = np.sqrt(np.maximum(squares - sums**2 / counts[:, None], 0) / counts[:, None])
    values, steps, turns = np.log(spread[[_SPEECH, _STEPS, _TURNS]] + _TINY)
    return [steps - turns, steps - values]


@njit(cache=True)
def _sums(X, voiced, pauses):
    """Numbers (4,), sums and sums of squares (4, D): frames, differences, second ones, pauses."""
    n_frames, n_dims = X.shape
    counts = np.zeros(4)
    sums, squares = np.zeros((4, n_dims)), np.zeros((4, n_dims))
    for t in range(n_frames):
        if pauses[t]:
            counts[_PAUSES] += 1
            for d in range(n_dims):
                sums[_PAUSES, d] += X[t, d]
        if not voiced[t]:
            continue
        counts[_SPEECH] += 1
        for d in range(n_dims):
            x = np.float64(X[t, d])
            sums[_SPEECH, d] += x
            squares[_SPEECH, d] += x * x
        if t < 1 or not voiced[t - 1]:
            continue
        counts[_STEPS] += 1
        for d in range(n_dims):
            x = np.float64(X[t, d]) - X[t - 1, d]
            sums[_STEPS, d] += x
            squares[_STEPS, d] += x * x
        if t < 2 or not voiced[t - 2]:
            continue
        counts[_TURNS] += 1
        for d in range(n_dims):
            x = np.float64(X[t, d]) - 2 * np.float64(X[t - 1, d]) + X[t - 2, d]
            sums[_TURNS, d] += x
            squares[_TURNS, d] += x * x
    return counts, sums, squares
