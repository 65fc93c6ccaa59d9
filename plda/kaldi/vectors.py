"""Kaldi's commands that average, centre, scale and project i-vectors."""

from __future__ import annotations

import logging
from typing import Any

from ivector.base.errors import named
from ivector.base.kaldi_cli.declared import Option, kaldi_command

logger = logging.getLogger("tables")


@kaldi_command(
    "ivector-mean",
    "average i-vectors, of each speaker with their number, or all of them",
    (
        "spk2utt-rspecifier:words ivector-rspecifier:vector@id ivector-wspecifier:vector "
        "[num-utts-wspecifier:int]",
        "ivector-rspecifier:vector mean-wxfilename",
    ),
    Option("binary", False, "write the mean of all binary, else as text"),
)
def ivector_mean(
    options: Any,
    ivector: Any,
    spk2utt: Any = None,
    ivector_out: Any = None,
    num_utts_out: Any = None,
    mean_out: str = "",
) -> None:
    """Write means of speakers, or one mean."""
    if mean_out:
        from plda.formats.models import write_mean
        from plda.kaldi.gathered import gather
        from plda.transforms.centring import Center

        center = Center().fit(gather(ivector, "the i-vectors")[1])
        write_mean(Center(center.mean_).fit(center.mean_[None]), mean_out, options.binary)
        return
    from plda.kaldi.gathered import of_speakers
    from plda.models.averaging import mean_per_class

    vectors, labels, speakers = of_speakers(spk2utt, ivector)
    classes, means, counts = mean_per_class(vectors, labels)
    row_of = {speaker: row for row, speaker in enumerate(classes.tolist())}
    for speaker in speakers:
        row = row_of[speaker]
        ivector_out.write(speaker, means[row])
        if num_utts_out is not None:
            num_utts_out.write(speaker, int(counts[row]))


@kaldi_command(
    "ivector-subtract-global-mean",
    "subtract the mean of i-vectors, or one that is given",
    (
        "ivector-rspecifier:vector ivector-wspecifier:vector",
        "mean-rxfilename ivector-rspecifier:vector ivector-wspecifier:vector",
    ),
    Option("subtract-mean", True, "else the i-vectors are copied"),
)
def ivector_subtract_global_mean(
    options: Any, ivector: Any, ivector_out: Any, mean: str = ""
) -> None:
    """Write centred i-vectors."""
    from plda.formats.models import read_mean
    from plda.kaldi.gathered import in_blocks
    from plda.transforms.centring import Center

    given = read_mean(mean) if mean else None

    def centred(vectors: Any) -> Any:
        if not options.subtract_mean:
            return vectors
        with named(mean or "the i-vectors"):
            return (given or Center().fit(vectors)).transform(vectors)

    in_blocks(ivector, ivector_out, centred, "the i-vectors")


@kaldi_command(
    "ivector-normalize-length",
    "scale i-vectors to one length",
    "ivector-rspecifier:vector ivector-wspecifier:vector",
    Option("normalize", True, "else the i-vectors are copied, and their lengths are told"),
    Option("scaleup", True, "to the length √D of D dimensions, else 1"),
)
def ivector_normalize_length(options: Any, ivector: Any, ivector_out: Any) -> None:
    """Write i-vectors of one length."""
    import numpy as np

    from plda.kaldi.gathered import in_blocks
    from plda.transforms.length import length_norm

    def scaled(vectors: Any) -> Any:
        target = np.sqrt(vectors.shape[1]) if options.scaleup else 1.0
        lengths = np.linalg.norm(vectors, axis=1)
        logger.info("lengths are %.4g of the wanted on average", np.mean(lengths) / target)
        return length_norm(vectors, options.scaleup) if options.normalize else vectors

    in_blocks(ivector, ivector_out, scaled, "the i-vectors")


_TRANSFORM = "transform-rxfilename vector-rspecifier:vector vector-wspecifier:vector"


def _project(options: Any, transform: str, vector: Any, vector_out: Any) -> None:
    from plda.formats.models import read_transform
    from plda.kaldi.gathered import in_blocks

    affine = read_transform(transform)

    def projected(vectors: Any) -> Any:
        with named(transform):
            return affine.transform(vectors)

    in_blocks(vector, vector_out, projected, "the vectors")


@kaldi_command("transform-vec", "apply a linear or affine matrix to vectors", _TRANSFORM)
def transform_vec(options: Any, transform: str, vector: Any, vector_out: Any) -> None:
    """Write projected vectors."""
    _project(options, transform, vector, vector_out)


@kaldi_command("ivector-transform", "apply a linear or affine matrix to i-vectors", _TRANSFORM)
def ivector_transform(options: Any, transform: str, vector: Any, vector_out: Any) -> None:
    """Write projected i-vectors."""
    _project(options, transform, vector, vector_out)
