"""Error rates of the scores of target and nontarget trials: what a back-end is chosen by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Priors of a target trial whose costs are averaged: from even odds to rare targets.
PRIORS = (0.5, 0.1, 0.01)


class Detection(NamedTuple):
    """Errors at the best thresholds.

    Parameters
    ----------
    cost : float
        Least detection cost, normalised (1: nothing is learnt), averaged over `PRIORS`.
    eer : float
        Rate at which misses and false alarms are equally frequent, 0 to 1.
    """

    cost: float
    eer: float


def detection(target: np.ndarray, nontarget: np.ndarray) -> Detection:
    """Errors of scores of target trials (n,) and of nontarget trials (m,).

    Examples
    --------
    >>> import numpy as np
    >>> detection(np.array([1.0, 3, 4, 5]), np.array([0.0, 0, 0, 2]))
    Detection(cost=0.25, eer=0.25)
    """
    target, nontarget = np.sort(target), np.sort(nontarget)
    # The best threshold accepts from a target's score on, or nothing.
    accepted = len(nontarget) - np.searchsorted(nontarget, target, side="left")
    miss = np.append(np.searchsorted(target, target, side="left"), len(target)) / len(target)
    false_alarm = np.append(accepted, 0) / len(nontarget)
    costs = [np.min(p * miss + (1 - p) * false_alarm) / min(p, 1 - p) for p in PRIORS]
    return Detection(float(np.mean(costs)), float(np.maximum(miss, false_alarm).min()))
