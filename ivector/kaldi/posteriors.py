"""Kaldi's commands over Gaussians of frames: selected ones, and their posteriors."""

from __future__ import annotations

import logging
from typing import Any

from ivector.base.errors import UsageError, named
from ivector.base.kaldi_cli.declared import Lack, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

logger = logging.getLogger("tables")


@kaldi_command(
    "gmm-gselect",
    "select the best Gaussians of a diagonal mixture for each frame",
    "model-rxfilename feats-rspecifier:matrix gselect-wspecifier:selected",
    Option("n", 50, "how many"),
    Option("write-likes", "", "table of the log-likelihoods of utterances, over these Gaussians",
           table="real", writes=True),
    Lack("gselect", "", "all are evaluated together, which is quicker than some of them"),
    parameters={"num_gselect": "--n"},
)  # fmt: skip
def gmm_gselect(options: Any, model: str, feats: Any, gselect_out: Any) -> None:
    """Write their numbers, the best first."""
    import numpy as np
    from scipy.special import logsumexp

    from ivector.formats.gmm import read_diag_gmm

    gmm, tally = read_diag_gmm(model), Tally()
    if options.n > len(gmm.weights_):
        logger.warning(
            "%d Gaussians are all that there are, of --n=%d", len(gmm.weights_), options.n
        )
    for key, matrix in feats:
        with named(key):
            selected = gmm.gselect(matrix, options.n)
            gselect_out.write(key, selected)
            if options.write_likes:
                logs = np.take_along_axis(gmm.log_prob(matrix), selected.astype(np.intp), 1)
                options.write_likes.write(key, float(logsumexp(logs, axis=1).sum()))
        tally.done += 1
    tally.end()


@kaldi_command(
    "fgmm-global-gselect-to-post",
    "compute posteriors of the selected Gaussians of a full mixture for each frame",
    "model-rxfilename feats-rspecifier:matrix gselect-rspecifier:selected@id "
    "post-wspecifier:posteriors",
    Option("min-post", 0.0, "posteriors below are dropped, and the rest sum to one"),
)
def fgmm_global_gselect_to_post(
    options: Any, model: str, feats: Any, gselect: Any, post_out: Any
) -> None:
    """Write them."""
    from ivector.base.tables.holders import Posteriors
    from ivector.formats.gmm import read_full_gmm

    gmm, tally = read_full_gmm(model), Tally()
    for key, matrix in feats:
        selected = gselect.get(key)
        if selected is None:
            tally.miss(key, "no selected Gaussians")
            continue
        if len(selected) != len(matrix):
            tally.miss(key, f"{len(matrix)} frames, and Gaussians are selected for {len(selected)}")
            continue
        with named(key):
            found = gmm.posteriors(matrix, min_post=options.min_post, selected=selected)
        post_out.write(key, Posteriors(*found))
        tally.done += 1
    tally.end()


@kaldi_command(
    "scale-post",
    "multiply posteriors by a number: one for all, or of each utterance",
    (
        "post-rspecifier:posteriors scale-rspecifier:real@id post-wspecifier:posteriors",
        "post-rspecifier:posteriors scale-value post-wspecifier:posteriors",
    ),
)
def scale_post(options: Any, post: Any, scale: Any, post_out: Any) -> None:
    """Write scaled posteriors."""
    import numpy as np

    constant = None
    if isinstance(scale, str):
        try:
            constant = float(scale)
        except ValueError:
            raise UsageError(f"<scale> is a number or a table, not {scale!r}") from None
    tally = Tally()
    for key, table in post:
        factor = scale.get(key) if constant is None else constant
        if factor is None:
            tally.miss(key, "no scale")
            continue
        post_out.write(key, table._replace(posts=table.posts * np.float32(factor)))
        tally.done += 1
    tally.end()


@kaldi_command(
    "copy-post", "copy posteriors, binary or as text",
    "post-rspecifier:posteriors post-wspecifier:posteriors",
)  # fmt: skip
def copy_post(options: Any, post: Any, post_out: Any) -> None:
    """Write them again."""
    _copy(post, post_out)


@kaldi_command(
    "copy-gselect", "copy selected Gaussians, binary or as text",
    "gselect-rspecifier:selected gselect-wspecifier:selected",
    Option("n", 0, "keep the best, so many; 0 keeps all"),
)  # fmt: skip
def copy_gselect(options: Any, gselect: Any, gselect_out: Any) -> None:
    """Write them again."""
    if options.n < 0:
        raise UsageError(f"--n is not negative, got {options.n}")
    _copy(((key, table[:, : options.n or None]) for key, table in gselect), gselect_out)


def _copy(table: Any, out: Any) -> None:
    tally = Tally()
    for key, value in table:
        out.write(key, value)
        tally.done += 1
    tally.end()
