"""Numba kernel of fast top-N GMM-UBM scoring; `GMMVerifier` validates, this computes.

M models, n frames, N selected components a frame, C components, D feature dimensions.
"""

import numpy as np

from ivector.base.jit import njit


@njit(cache=True)
def _log_sum_exp(logs):
    top = logs.max()
    return top + np.log(np.exp(logs - top).sum())


@njit(cache=True, fastmath={"contract", "reassoc"})
def llr_per_model(frames, selected, base, shifts, penalties):
    """Mean over frames of log p(x | model) − log p(x | UBM), over the frame's selected components.

    Parameters
    ----------
    frames : float32 (n, D)
        Frames less a common centre o.
    selected : int32 (n, N)
        Components of each frame.
    base : float32 (n, N)
        log w_c N(x | c) under the UBM, less the largest of the frame.
    shifts : float32 (M, C, D)
        Σ_c⁻¹ (μ_mc − μ_c).
    penalties : float32 (M, C)
        shift · ((μ_mc + μ_c) / 2 − o): a model's log-likelihood of a component is the UBM's plus
        shift · frame − penalty.

    Returns
    -------
    float64 (M,)
    """
    n, n_selected = selected.shape
    n_models, _, dim = shifts.shape
    scores = np.zeros(n_models)
    logs = np.empty(n_selected)
    for t in range(n):
        ubm = 0.0
        for k in range(n_selected):
            ubm += np.exp(np.float64(base[t, k]))
        log_ubm = np.log(ubm)
        for m in range(n_models):
            total = 0.0
            for k in range(n_selected):
                c = selected[t, k]
                dot = np.float32(0.0)
                for d in range(dim):
                    dot += shifts[m, c, d] * frames[t, d]
                logs[k] = base[t, k] + dot - penalties[m, c]
                total += np.exp(logs[k])
            # Far from the UBM a model may gain, or lose, more than exp can hold.
            far = not 1e-200 < total < 1e200
            scores[m] += (_log_sum_exp(logs) if far else np.log(total)) - log_ubm
    return scores / max(n, 1)
