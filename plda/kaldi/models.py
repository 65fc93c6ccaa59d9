"""Kaldi's commands that train, change and adapt LDA and PLDA."""

from __future__ import annotations

from typing import Any

from ivector.base.errors import DataError, named
from ivector.base.kaldi_cli.declared import BINARY, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally


@kaldi_command(
    "ivector-compute-lda",
    "train LDA of labelled i-vectors, an affine matrix",
    "ivector-rspecifier:vector utt2spk-rspecifier:words@id lda-wxfilename",
    BINARY,
    Option("dim", 100, "dimensions to keep"),
    Option("total-covariance-factor", 0.0, "0 normalises the within-class covariance, 1 the total"),
    Option("covariance-floor", 1e-6, "of that covariance's eigenvalues, relative to the greatest"),
    parameters={"n_components": "--dim"},
)
def ivector_compute_lda(options: Any, ivector: Any, utt2spk: Any, lda_out: str) -> None:
    """Write the matrix."""
    import numpy as np

    from plda.formats.models import write_transform
    from plda.kaldi.gathered import gather
    from plda.transforms.discriminant import LDA

    tally = Tally()
    ids, vectors = gather(ivector, "the i-vectors")
    labels = [utt2spk.get(key) for key in ids]
    for key, words in zip(ids, labels):
        if words is None:
            tally.miss(key, "utt2spk does not name its speaker")
        elif len(words) != 1:
            raise DataError(f"utt2spk: {key} has {len(words)} speakers; name one")
    labelled = np.array([words is not None for words in labels])
    tally.done = int(labelled.sum())
    tally.end()
    lda = LDA(options.dim, options.total_covariance_factor, options.covariance_floor)
    lda.fit(vectors[labelled], np.array([words[0] for words in labels if words is not None]))
    write_transform(lda, lda_out, options.binary)


@kaldi_command(
    "ivector-compute-plda",
    "train PLDA of the i-vectors of speakers",
    "spk2utt-rspecifier:words ivector-rspecifier:vector@id plda-wxfilename",
    BINARY,
    Option("num-em-iters", 10, "iterations of EM"),
    parameters={"n_iter": "--num-em-iters"},
)
def ivector_compute_plda(options: Any, spk2utt: Any, ivector: Any, plda_out: str) -> None:
    """Write the model."""
    from plda.formats.models import write_plda
    from plda.kaldi.gathered import of_speakers
    from plda.models.plda import PLDA

    vectors, labels, _ = of_speakers(spk2utt, ivector)
    write_plda(PLDA(options.num_em_iters).fit(vectors, labels), plda_out, options.binary)


@kaldi_command(
    "ivector-copy-plda",
    "copy a PLDA model, also from binary to text or smoothed",
    "plda-rxfilename plda-wxfilename",
    BINARY,
    Option("smoothing", 0.0, "share of the between- that is added to the within-class covariance"),
    parameters={"factor": "--smoothing"},
)
def ivector_copy_plda(options: Any, plda: str, plda_out: str) -> None:
    """Write the model again."""
    from plda.formats.models import read_plda, write_plda

    model = read_plda(plda)
    if options.smoothing:
        model = model.smooth(options.smoothing)
    write_plda(model, plda_out, options.binary)


@kaldi_command(
    "ivector-adapt-plda",
    "adapt a PLDA model to unlabelled i-vectors of another domain",
    "plda-rxfilename ivector-rspecifier:vector plda-wxfilename",
    BINARY,
    Option("within-covar-scale", 0.3, "share of the excess variance for the within-class one"),
    Option("between-covar-scale", 0.7, "share of the excess variance for the between-class one"),
    Option("mean-diff-scale", 1.0, "weight of the shift of the mean in the domain's variance"),
)
def ivector_adapt_plda(options: Any, plda: str, ivector: Any, plda_out: str) -> None:
    """Write the adapted model."""
    from plda.formats.models import read_plda, write_plda
    from plda.kaldi.gathered import gather
    from plda.models.adaptation import adapt_plda

    model, (_, vectors) = read_plda(plda), gather(ivector, "the i-vectors")
    with named(plda):
        adapted = adapt_plda(
            model, vectors, options.within_covar_scale, options.between_covar_scale,
            options.mean_diff_scale,
        )  # fmt: skip
    write_plda(adapted, plda_out, options.binary)
