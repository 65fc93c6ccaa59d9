"""Total variability straight from the equations: one utterance at a time, float64, no tricks.

Kaldi's form is written in its own variables (v ~ N(p e_0, I), raw statistics), so that it checks
the shift to w = v − p e_0 that the library makes. The classical form is p = 0 with centred
statistics (Kenny 2005; Dehak 2011).
"""

import numpy as np


def posterior(projection, precision, offset, zeroth, first):
    """Mean and covariance of v given one utterance (Kenny 2005, prop. 1)."""
    rank = projection.shape[2]
    quadratic = np.eye(rank)
    linear = np.zeros(rank)
    linear[0] = offset
    for T, P, n, f in zip(projection, precision, zeroth, first):
        quadratic += n * T.T @ P @ T
        linear += T.T @ P @ f
    covariance = np.linalg.inv(quadratic)
    return covariance @ linear, covariance


def log_likelihood(weights, projection, precision, offset, stats):
    """Sum over utterances of log ∫ p(x | v) p(v) dv, by the bound of GetAuxf, which is tight."""
    _, D, R = projection.shape
    total = 0.0
    for zeroth, first in zip(stats.zeroth.astype(float), stats.first.astype(float)):
        mean, covariance = posterior(projection, precision, offset, zeroth, first)
        away = mean - offset * np.eye(R)[0]
        total += -0.5 * (away @ away + np.trace(covariance) - R)
        total += 0.5 * np.linalg.slogdet(covariance)[1]
        for w, T, P, n, f in zip(weights, projection, precision, zeroth, first):
            quadratic = T.T @ P @ T
            total += n * (np.log(w) + 0.5 * np.linalg.slogdet(P)[1] - 0.5 * D * np.log(2 * np.pi))
            total += mean @ T.T @ P @ f - 0.5 * n * mean @ quadratic @ mean
            total -= 0.5 * n * np.trace(covariance @ quadratic)
    return total - 0.5 * np.sum(precision * stats.second)


def em_iteration(projection, precision, offset, stats):
    """New projections, covariances before flooring, mean and second moment of v."""
    C, D, R = projection.shape
    A, B, N = np.zeros((C, R, R)), np.zeros((C, D, R)), np.zeros(C)
    mean_sum, moment_sum = np.zeros(R), np.zeros((R, R))
    for zeroth, first in zip(stats.zeroth.astype(float), stats.first.astype(float)):
        mean, covariance = posterior(projection, precision, offset, zeroth, first)
        moment = covariance + np.outer(mean, mean)
        mean_sum += mean
        moment_sum += moment
        N += zeroth
        for c in range(C):
            A[c] += zeroth[c] * moment
            B[c] += np.outer(first[c], mean)
    new = np.stack([b @ np.linalg.inv(a) for a, b in zip(A, B)])
    covariances = np.empty((C, D, D))
    for c in range(C):
        cross = B[c] @ new[c].T
        scatter = stats.second[c] - cross - cross.T + new[c] @ A[c] @ new[c].T
        covariances[c] = scatter / N[c]
    return new, covariances, mean_sum / len(stats), moment_sum / len(stats)
