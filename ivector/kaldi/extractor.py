"""Kaldi's commands that train i-vector extractors and extract i-vectors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from ivector.base.errors import DataError, named
from ivector.base.kaldi_cli.declared import BINARY, Lack, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

logger = logging.getLogger("tables")

_THREADS = Option("num-threads", 1, "threads of the linear algebra")
_ALIGNED = "model-rxfilename feats-rspecifier:matrix post-rspecifier:posteriors@id "
_BLOCK = 128  # utterances that are worked on together
_COPY = "model-rxfilename model-wxfilename"


class _Aligned(NamedTuple):
    """An utterance: frames (T, D), and components and posteriors (T, N)."""

    key: str
    frames: Any
    indices: Any
    posts: Any


@kaldi_command(
    "ivector-extractor-init",
    "start an i-vector extractor from a full mixture, at random",
    "ubm-rxfilename model-wxfilename",
    BINARY,
    Option("ivector-dim", 400, "dimension of the i-vectors"),
    Lack("use-weights", "false", "weights do not depend on the i-vector, as with false"),
    Lack("num-iters", "2", "it serves --use-weights alone"),
    parameters={"rank": "--ivector-dim"},
)
def ivector_extractor_init(options: Any, ubm: str, model_out: str) -> None:
    """Write the extractor."""
    import numpy as np

    from ivector.base.errors import UsageError
    from ivector.formats.extractor import write_extractor
    from ivector.formats.gmm import read_full_gmm
    from ivector.total_variability.initial import initial_subspace
    from ivector.total_variability.model import TotalVariability

    if options.ivector_dim < 2:
        raise UsageError(f"--ivector-dim is at least 2, not {options.ivector_dim}")
    defaults = TotalVariability().get_params()
    start = initial_subspace(
        read_full_gmm(ubm), [], rank=options.ivector_dim, method="random",
        offset=defaults["prior_offset"], rng=np.random.RandomState(0),
    )  # fmt: skip
    write_extractor(model_out, TotalVariability.from_subspace(start), options.binary)


@kaldi_command(
    "ivector-extractor-acc-stats",
    "accumulate what EM of an i-vector extractor needs, of features and posteriors",
    f"{_ALIGNED}stats-wxfilename",
    BINARY,
    _THREADS,
    Option("update-variances", True, "also what the covariances need"),
    Option("compute-auxf", True, "also the objective, which is logged"),
    Lack("num-samples-for-weights", "10", "weights do not depend on the i-vector"),
    Lack("cache-size", "100", f"{_BLOCK} utterances are worked on together"),
)
def ivector_extractor_acc_stats(
    options: Any, model: str, feats: Any, post: Any, stats_out: str
) -> None:
    """Write the sums."""
    from ivector.formats.accumulators import write_extractor_accumulators
    from ivector.formats.extractor import read_extractor
    from ivector.statistics.extraction import baum_welch
    from ivector.total_variability.e_step import Accumulators, e_step, objective
    from ivector.total_variability.raw_sums import raw_sums

    extractor, tally = read_extractor(model), Tally()
    subspace = extractor.subspace()
    total = Accumulators.zeros(*subspace.projection.shape)
    with _threads(options.num_threads):
        for block in _blocks(feats, post, subspace, tally):
            with _of(block):
                total += e_step(
                    extractor.derived(),
                    baum_welch(
                        extractor,
                        [one.frames for one in block],
                        posteriors=[(one.indices, one.posts) for one in block],
                        second_order=options.update_variances,
                    ),
                )
        tally.end()
        n_frames = float(total.zeroth.sum())
        raw = raw_sums(total, subspace)
        raw.evidence = 0.0
        if options.compute_auxf:
            value = objective(subspace, total.evidence, total.zeroth, total.second)
            raw.evidence = value * n_frames
            logger.info("objective per frame %.5f, over %.0f frames", value, n_frames)
    write_extractor_accumulators(stats_out, raw, options.binary)


@kaldi_command(
    "ivector-extractor-sum-accs",
    "sum accumulators of an i-vector extractor",
    "stats-rxfilename... stats-wxfilename",
    BINARY,
    Lack("parallel", "false", "files are summed one after the other, as fast as they are read"),
)
def ivector_extractor_sum_accs(options: Any, stats: list[str], stats_out: str) -> None:
    """Write the sum."""
    from ivector.formats.accumulators import (
        read_extractor_accumulators,
        write_extractor_accumulators,
    )

    total = read_extractor_accumulators(stats[0])
    shape = total.cross.shape
    for path in stats[1:]:
        part = read_extractor_accumulators(path)
        if part.cross.shape != shape or (part.second is None) != (total.second is None):
            raise DataError(f"{path}: is of another extractor than {stats[0]}, or lacks variances")
        total += part
    write_extractor_accumulators(stats_out, total, options.binary)


@kaldi_command(
    "ivector-extractor-est",
    "re-estimate an i-vector extractor of accumulators",
    "model-rxfilename stats-rxfilename model-wxfilename",
    BINARY,
    _THREADS,
    Option("variance-floor-factor", 0.1, "covariances are floored at this share of their average"),
    Option("gaussian-min-count", 100.0, "frames below which a Gaussian stays as it is"),
    Option("diagonalize", True, "turn i-vectors so that their average precision is diagonal"),
    parameters={"covariance_floor": "--variance-floor-factor"},
)
def ivector_extractor_est(options: Any, model: str, stats: str, model_out: str) -> None:
    """Write the new extractor."""
    from ivector.formats.accumulators import read_extractor_accumulators
    from ivector.formats.extractor import read_extractor, write_extractor
    from ivector.total_variability.model import TotalVariability
    from ivector.total_variability.raw_sums import update_from_raw

    subspace, raw = read_extractor(model).subspace(), read_extractor_accumulators(stats)
    if raw.cross.shape != subspace.projection.shape:
        raise DataError(
            f"{stats}: is of an extractor of {raw.cross.shape}, the model of "
            f"{subspace.projection.shape} (Gaussians, features, i-vector)"
        )
    with _threads(options.num_threads), named(stats):
        updated = update_from_raw(
            subspace, raw, options.gaussian_min_count, options.variance_floor_factor,
            options.diagonalize,
        )  # fmt: skip
    write_extractor(model_out, TotalVariability.from_subspace(updated), options.binary)


@kaldi_command("ivector-extractor-copy", "copy an extractor, binary or as text", _COPY, BINARY)
def ivector_extractor_copy(options: Any, model: str, model_out: str) -> None:
    """Write it again."""
    from ivector.formats.extractor import read_extractor, write_extractor

    write_extractor(model_out, read_extractor(model), options.binary)


@kaldi_command(
    "ivector-extract",
    "extract i-vectors, of utterances or speakers, of features and posteriors",
    f"{_ALIGNED}ivector-wspecifier:vector",
    _THREADS,
    Option("acoustic-weight", 1.0, "factor of the posteriors, as frames are not independent"),
    Option("max-count", 0.0, "frames that an utterance counts as at most; 0 for no limit"),
    Option("spk2utt", "", "table of speakers and their utterances: one i-vector a speaker, of all "
           "their frames", table="words"),
    Lack("compute-objf-change", "true", "it is a figure of the log alone"),
    parameters={"posterior_scale": "--acoustic-weight"},
)  # fmt: skip
def ivector_extract(options: Any, model: str, feats: Any, post: Any, ivector_out: Any) -> None:
    """Write an i-vector for each utterance or speaker, the prior's offset subtracted."""
    from ivector.formats.extractor import read_extractor
    from ivector.statistics.extraction import baum_welch

    extractor = read_extractor(model)
    scales = {"posterior_scale": options.acoustic_weight, "max_count": options.max_count}
    with _threads(options.num_threads):
        if options.spk2utt:
            _of_speakers(extractor, options, feats, post, ivector_out, scales)
            return
        tally = Tally()
        for block in _blocks(feats, post, extractor.subspace(), tally):
            with _of(block):
                statistics = baum_welch(
                    extractor,
                    [one.frames for one in block],
                    posteriors=[(one.indices, one.posts) for one in block],
                    **scales,
                )
                ivectors = extractor.transform(statistics)
            for one, ivector in zip(block, ivectors):
                ivector_out.write(one.key, ivector)
        tally.end()


def _of_speakers(
    extractor: Any, options: Any, feats: Any, post: Any, ivector_out: Any, scales: dict
) -> None:
    """Write an i-vector of all frames of each speaker."""
    from ivector.base.tables.reading import TableLookup
    from ivector.statistics.extraction import baum_welch

    lookup, speakers = TableLookup(feats.specifier, feats.holder), Tally("speakers")
    for speaker, keys in options.spk2utt:
        there, missing = [], Tally()
        for key in keys:
            frames = lookup.get(key)
            if frames is None:
                missing.miss(key, "no features")
            else:
                there.append((key, frames))
        block = [
            one for part in _blocks(there, post, extractor.subspace(), missing) for one in part
        ]
        if not block:
            speakers.miss(speaker, "no utterance has features and posteriors")
            continue
        with named(speaker):
            statistics = baum_welch(
                extractor,
                [one.frames for one in block],
                posteriors=[(one.indices, one.posts) for one in block],
            )
            pooled = statistics.pool([range(len(block))]).scaled(**scales)
            ivector_out.write(speaker, extractor.transform(pooled)[0])
        speakers.done += 1
    speakers.end()


@kaldi_command(
    "ivector-extract-online",
    "extract i-vectors of the frames so far, every so many frames",
    f"{_ALIGNED}ivector-wspecifier:matrix",
    _THREADS,
    Option("ivector-period", 10, "frames from one i-vector to the next"),
    Option("num-cg-iters", 15, "steps of conjugate gradients; -1 solves exactly"),
    Option("max-count", 0.0, "frames beyond which the prior is weighted up; 0 for no limit"),
    parameters={"period": "--ivector-period"},
)
def ivector_extract_online(
    options: Any, model: str, feats: Any, post: Any, ivector_out: Any
) -> None:
    """Write a matrix of i-vectors for each utterance, the prior's offset subtracted."""
    from ivector.formats.extractor import read_extractor
    from ivector.total_variability.online import OnlineExtractor

    subspace, tally = read_extractor(model).subspace(), Tally()
    with _threads(options.num_threads):
        online = OnlineExtractor(
            subspace, options.ivector_period, options.num_cg_iters, options.max_count
        )
        for block in _blocks(feats, post, subspace, tally):
            for one in block:
                with named(one.key):
                    ivectors = online.extract(one.indices, one.posts, one.frames)
                ivectors[:, 0] -= subspace.offset
                ivector_out.write(one.key, ivectors)
    tally.end()


def _blocks(feats: Any, post: Any, subspace: Any, tally: Tally) -> Iterator[list[_Aligned]]:
    """Utterances that have posteriors for each frame, some at a time."""
    n_components, dim, _ = subspace.projection.shape
    block: list[_Aligned] = []
    for key, frames in feats:
        table = post.get(key)
        if table is None:
            tally.miss(key, "no posteriors")
            continue
        if len(table.posts) != len(frames):
            tally.miss(key, f"{len(frames)} frames, and posteriors of {len(table.posts)}")
            continue
        if frames.shape[1] != dim:
            raise DataError(
                f"{key}: has {frames.shape[1]} features, the extractor is for {dim}; take those "
                "that it was trained on"
            )
        if (
            table.indices.size
            and not 0 <= table.indices.min() <= table.indices.max() < n_components
        ):
            raise DataError(
                f"{key}: posteriors name Gaussian {table.indices.max()} of an extractor with "
                f"{n_components}; they come from another mixture"
            )
        block.append(_Aligned(key, frames, *table))
        tally.done += 1
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _of(block: list[_Aligned]) -> contextlib.AbstractContextManager:
    """Names the utterances of a block in errors."""
    first, last = block[0].key, block[-1].key
    return named(first if len(block) == 1 else f"{first} … {last}")


def _threads(count: int) -> contextlib.AbstractContextManager:
    """Limits the threads of BLAS."""
    from threadpoolctl import threadpool_limits

    from ivector.base.errors import UsageError

    if count < 1:
        raise UsageError(f"--num-threads is at least 1, not {count}")
    return threadpool_limits(count)
