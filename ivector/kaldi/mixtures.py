"""Kaldi's commands that train and copy Gaussian mixtures, the UBM."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from ivector.base.errors import UsageError, named
from ivector.base.kaldi_cli.declared import BINARY, Lack, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

logger = logging.getLogger("tables")

_FLAGS = Lack("update-flags", "mvw", "means, variances and weights are always updated together")
_WEIGHTS = Lack("weights", "", "frames count 1 or, by select-voiced-frames, not at all")
_SPLITTING = (
    Lack("mix-up", "0", "mixtures grow in gmm-global-init-from-feats alone"),
    Lack("perturb-factor", "0.01", "it serves --mix-up alone"),
)
_GSELECT = Option("gselect", "", "table of selected Gaussians (gmm-gselect), which alone are "
                  "evaluated; without it all are", table="selected@id")  # fmt: skip
_FEW = (
    Option("min-gaussian-weight", 1e-5, "weight up to which a Gaussian is starved"),
    Option("remove-low-count-gaussians", True, "remove starved Gaussians, else keep them"),
)
_DIAGONAL = (
    *_FEW,
    Option("min-gaussian-occupancy", 10.0, "frames up to which a Gaussian is starved"),
    Option("min-variance", 0.001, "floor of variances"),
)
_FULL = (
    *_FEW,
    Option("min-gaussian-occupancy", 100.0, "frames up to which a Gaussian is starved"),
    Option("variance-floor", 0.001, "floor of the eigenvalues of covariances"),
    Option("max-condition", 1e4, "largest ratio of a covariance's eigenvalues"),
)
_PARAMETERS = {
    "min_weight": "--min-gaussian-weight",
    "min_occupancy": "--min-gaussian-occupancy",
    "n_components": "--num-gauss",
    "n_iter": "--num-iters",
}
_ACCUMULATE = "model-rxfilename feats-rspecifier:matrix stats-wxfilename"
_ESTIMATE = "model-rxfilename stats-rxfilename model-wxfilename"
_SUM = "stats-wxfilename stats-rxfilename..."
_COPY = "model-rxfilename model-wxfilename"


@kaldi_command(
    "gmm-global-init-from-feats",
    "train a diagonal mixture from random frames, in memory",
    "feats-rspecifier:matrix model-wxfilename",
    BINARY,
    Option("num-gauss", 100, "Gaussians of the mixture"),
    Option("num-gauss-init", 0, "Gaussians to begin with; they are split up to --num-gauss in the "
           "first half of the iterations. 0 begins with all"),
    Option("num-iters", 50, "iterations of EM"),
    Option("num-frames", 200000, "frames that are kept, drawn at random"),
    Option("srand", 0, "seed"),
    Option("num-threads", 1, "processes of the E-step; change no result"),
    *_DIAGONAL,
    parameters=_PARAMETERS,
)  # fmt: skip
def gmm_global_init_from_feats(options: Any, feats: Any, model_out: str) -> None:
    """Write the mixture."""
    import numpy as np

    from ivector.formats.gmm import write_diag_gmm
    from ivector.gmm.diagonal import DiagonalGMM
    from ivector.gmm.init import split

    if options.num_iters < 1 or options.num_frames < 1 or options.num_gauss < 1:
        raise UsageError("--num-iters, --num-frames and --num-gauss are at least 1")
    rng = np.random.default_rng(options.srand)
    frames = _sample(feats, options.num_frames, rng)
    first = options.num_gauss_init
    first = first if 0 < first <= options.num_gauss else options.num_gauss
    shared = {**_diagonal_options(options, frames.shape[1]), "tol": 0.0,
              "n_jobs": options.num_threads}  # fmt: skip
    gmm = DiagonalGMM(first, init="random", n_iter=1, random_state=options.srand, **shared)
    gmm.fit(frames)
    growing = max(options.num_iters // 2, 1)
    for iteration in range(1, options.num_iters):
        missing = options.num_gauss - len(gmm.weights_)
        if 0 < iteration <= growing and missing > 0:
            step = -(-missing // (growing - iteration + 1))
            split(gmm, min(len(gmm.weights_) + step, 2 * len(gmm.weights_)), rng)
        gmm = DiagonalGMM(len(gmm.weights_), init=gmm, n_iter=1, **shared).fit(frames)
        logger.info("iteration %d: %.5f per frame", iteration + 1, gmm.log_likelihood_[-1])
    write_diag_gmm(model_out, gmm, options.binary)


def _sample(feats: Any, count: int, rng: Any) -> Any:
    """At most `count` frames (n, D) of a table, each as likely as another."""
    import numpy as np

    kept, seen = None, 0
    for key, matrix in feats:
        if kept is None:
            kept = np.empty((count, matrix.shape[1]), np.float32)
        elif matrix.shape[1] != kept.shape[1]:
            raise UsageError(f"{key} has {matrix.shape[1]} features, those before {kept.shape[1]}")
        places = np.arange(seen, seen + len(matrix))
        late = places >= count  # each takes the place of another with probability count / place
        places[late] = rng.integers(0, places[late] + 1)
        inside = places < count
        kept[places[inside]] = matrix[inside]
        seen += len(matrix)
    if kept is None or not seen:
        raise UsageError("there are no frames to train on")
    logger.info("%d of %d frames are kept", min(seen, count), seen)
    return kept[:seen]


def _diagonal_options(options: Any, dim: int) -> dict[str, Any]:
    """Options of `DiagonalGMM` of Kaldi's."""
    import numpy as np

    return {
        "min_weight": options.min_gaussian_weight,
        "min_occupancy": options.min_gaussian_occupancy,
        "remove_starved": options.remove_low_count_gaussians,
        "variance_floor": np.full(dim, options.min_variance),
    }


@kaldi_command(
    "gmm-global-acc-stats", "accumulate what EM of a diagonal mixture needs", _ACCUMULATE,
    BINARY, _GSELECT, _FLAGS, _WEIGHTS,
)  # fmt: skip
def gmm_global_acc_stats(options: Any, model: str, feats: Any, stats_out: str) -> None:
    """Write the sums."""
    from ivector.formats.gmm import read_diag_gmm

    _accumulate(read_diag_gmm(model), options, feats, stats_out)


@kaldi_command(
    "fgmm-global-acc-stats", "accumulate what EM of a full mixture needs", _ACCUMULATE,
    BINARY, _GSELECT, _FLAGS, _WEIGHTS,
)  # fmt: skip
def fgmm_global_acc_stats(options: Any, model: str, feats: Any, stats_out: str) -> None:
    """Write the sums."""
    from ivector.formats.gmm import read_full_gmm

    gmm = read_full_gmm(model)
    gmm.num_gselect = len(gmm.weights_)
    _accumulate(gmm, options, feats, stats_out)


def _accumulate(gmm: Any, options: Any, feats: Any, stats_out: str) -> None:
    from ivector.formats.accumulators import write_gmm_accumulators

    tally, total = Tally(), None
    for keys, frames, selected in _blocks(feats, options.gselect, tally):
        with named(keys):
            part = gmm.accumulate(frames, selected)
        total = part if total is None else total + part
    tally.end()
    assert total is not None  # as something was done
    logger.info("log-likelihood per frame %.5f", total.log_likelihood / max(total.n_frames, 1))
    write_gmm_accumulators(stats_out, total, options.binary)


def _blocks(feats: Any, gselect: Any, tally: Tally, size: int = 20000) -> Iterator[Any]:
    """Names, frames (n, D) and selected Gaussians (n, N) or None, of some utterances together."""
    import numpy as np

    block: list[tuple[str, Any, Any]] = []

    def joined() -> tuple[str, Any, Any]:
        keys, frames, selected = zip(*block)
        name = keys[0] if len(keys) == 1 else f"{keys[0]} … {keys[-1]}"
        both = None if gselect is None or gselect == "" else np.concatenate(selected)
        return name, np.concatenate(frames), both

    for key, matrix in feats:
        selected = gselect.get(key) if gselect else None
        if gselect and selected is None:
            tally.miss(key, "no selected Gaussians")
            continue
        if selected is not None and len(selected) != len(matrix):
            tally.miss(key, f"{len(matrix)} frames, and Gaussians are selected for {len(selected)}")
            continue
        apart = block and (
            matrix.shape[1] != block[0][1].shape[1]
            or (selected is not None and selected.shape[1] != block[0][2].shape[1])
        )
        if apart or sum(len(one) for _, one, _ in block) >= size:
            yield joined()
            block = []
        block.append((key, matrix, selected))
        tally.done += 1
    if block:
        yield joined()


@kaldi_command("gmm-global-sum-accs", "sum accumulators of diagonal mixtures", _SUM, BINARY)
def gmm_global_sum_accs(options: Any, stats_out: str, stats: list[str]) -> None:
    """Write the sum."""
    _sum(options, stats_out, stats)


@kaldi_command("fgmm-global-sum-accs", "sum accumulators of full mixtures", _SUM, BINARY)
def fgmm_global_sum_accs(options: Any, stats_out: str, stats: list[str]) -> None:
    """Write the sum."""
    _sum(options, stats_out, stats)


def _sum(options: Any, stats_out: str, stats: list[str]) -> None:
    from ivector.formats.accumulators import read_gmm_accumulators, write_gmm_accumulators

    total = read_gmm_accumulators(stats[0])
    for path in stats[1:]:
        with named(path):
            total += read_gmm_accumulators(path)
    write_gmm_accumulators(stats_out, total, options.binary)


@kaldi_command(
    "gmm-global-est", "re-estimate a diagonal mixture of accumulators", _ESTIMATE,
    BINARY, *_DIAGONAL, _FLAGS, *_SPLITTING, parameters=_PARAMETERS,
)  # fmt: skip
def gmm_global_est(options: Any, model: str, stats: str, model_out: str) -> None:
    """Write the new mixture."""
    from ivector.formats.accumulators import read_gmm_accumulators
    from ivector.formats.gmm import read_diag_gmm, write_diag_gmm

    gmm, total = read_diag_gmm(model), read_gmm_accumulators(stats)
    _require_shape(gmm, total, stats, 2)
    gmm.set_params(**_diagonal_options(options, gmm.means_.shape[1]))
    write_diag_gmm(model_out, gmm.update(total), options.binary)


@kaldi_command(
    "fgmm-global-est", "re-estimate a full mixture of accumulators", _ESTIMATE,
    BINARY, *_FULL, _FLAGS, *_SPLITTING, parameters=_PARAMETERS,
)  # fmt: skip
def fgmm_global_est(options: Any, model: str, stats: str, model_out: str) -> None:
    """Write the new mixture."""
    from ivector.formats.accumulators import read_gmm_accumulators
    from ivector.formats.gmm import read_full_gmm, write_full_gmm
    from ivector.gmm.diagonal import global_variances

    gmm, total = read_full_gmm(model), read_gmm_accumulators(stats)
    _require_shape(gmm, total, stats, 3)
    gmm.set_params(
        min_weight=options.min_gaussian_weight,
        min_occupancy=options.min_gaussian_occupancy,
        remove_starved=options.remove_low_count_gaussians,
        # The library's floor is relative.
        variance_floor=options.variance_floor / float(global_variances(total).min()),
        max_condition=options.max_condition,
    )
    write_full_gmm(model_out, gmm.update(total), options.binary)


def _require_shape(gmm: Any, total: Any, stats: str, n_dims: int) -> None:
    """Refuse accumulators of another mixture."""
    from ivector.base.errors import DataError

    if total.first.shape != gmm.means_.shape or total.second.ndim != n_dims:
        kind = {2: "diagonal", 3: "full"}
        raise DataError(
            f"{stats}: is of a {kind[total.second.ndim]} mixture of {total.first.shape}, the "
            f"model is a {kind[n_dims]} one of {gmm.means_.shape} (Gaussians, features)"
        )


@kaldi_command("gmm-global-to-fgmm", "make a full mixture of a diagonal one", _COPY, BINARY)
def gmm_global_to_fgmm(options: Any, model: str, model_out: str) -> None:
    """Write it."""
    from ivector.formats.gmm import read_diag_gmm, write_full_gmm
    from ivector.gmm.full import FullGMM

    write_full_gmm(model_out, FullGMM.from_diagonal(read_diag_gmm(model)), options.binary)


@kaldi_command("fgmm-global-to-gmm", "make a diagonal mixture of a full one", _COPY, BINARY)
def fgmm_global_to_gmm(options: Any, model: str, model_out: str) -> None:
    """Write it."""
    from ivector.formats.gmm import read_full_gmm, write_diag_gmm

    write_diag_gmm(model_out, read_full_gmm(model).to_diagonal(), options.binary)


@kaldi_command("gmm-global-copy", "copy a diagonal mixture, binary or as text", _COPY, BINARY)
def gmm_global_copy(options: Any, model: str, model_out: str) -> None:
    """Write it again."""
    from ivector.formats.gmm import read_diag_gmm, write_diag_gmm

    write_diag_gmm(model_out, read_diag_gmm(model), options.binary)


@kaldi_command("fgmm-global-copy", "copy a full mixture, binary or as text", _COPY, BINARY)
def fgmm_global_copy(options: Any, model: str, model_out: str) -> None:
    """Write it again."""
    from ivector.formats.gmm import read_full_gmm, write_full_gmm

    write_full_gmm(model_out, read_full_gmm(model), options.binary)
