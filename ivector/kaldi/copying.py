"""Kaldi's commands that copy tables: features, vectors, matrices."""

from __future__ import annotations

import contextlib
from typing import Any

from ivector.base.errors import DataError, UsageError
from ivector.base.kaldi_cli.declared import BINARY, Lack, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

_METHODS = 7  # of Kaldi's CompressionMethod


@kaldi_command(
    "copy-feats",
    "copy features, also from binary to text or compressed",
    (
        "feats-rspecifier:matrix feats-wspecifier:matrix",
        "feats-rxfilename feats-wxfilename",
    ),
    BINARY,
    Option("compress", False, "one or two bytes a number instead of four"),
    Option(
        "compression-method",
        1,
        "of --compress: 1 takes 2 (speech features, 1 byte) or, of up "
        "to 8 frames, 3 (2 bytes); 4 whole numbers; 5 (1 byte); 6, 7 whole numbers, 0 to 1",
    ),
    Option("write-num-frames", "", "table of the numbers of frames", table="int", writes=True),
    Lack("htk-in", "false", "HTK's features are not read; let Kaldi's copy-feats convert them"),
    Lack(
        "sphinx-in", "false", "Sphinx's features are not read; let Kaldi's copy-feats convert them"
    ),
)
def copy_feats(options: Any, feats: Any, feats_out: Any) -> None:
    """Copy a table of features, or one file."""
    if not 1 <= options.compression_method <= _METHODS:
        raise UsageError(
            f"--compression-method is 1 to {_METHODS}, not {options.compression_method}"
        )
    if isinstance(feats, str):
        if options.write_num_frames or options.compress:
            raise UsageError("--compress and --write-num-frames are for tables, not for one file")
        _copy_file("matrix", feats, feats_out, options.binary)
        return
    feats_out.compression = options.compression_method * options.compress
    tally = Tally()
    for key, matrix in feats:
        feats_out.write(key, matrix)
        if options.write_num_frames:
            options.write_num_frames.write(key, len(matrix))
        tally.done += 1
    tally.end()


@kaldi_command(
    "copy-vector",
    "copy vectors, such as voice decisions or i-vectors, or one file of a vector",
    (
        "vector-rspecifier:vector vector-wspecifier:vector",
        "vector-rxfilename vector-wxfilename",
    ),
    BINARY,
    Option("change-dim", -1, "cut or fill with zeros to so many numbers; below 0 not at all"),
    Option("scale", 1.0, "factor"),
)
def copy_vector(options: Any, vector: Any, vector_out: Any) -> None:
    """Copy a table of vectors, or one file."""
    import numpy as np

    def changed(values: np.ndarray) -> np.ndarray:
        if options.change_dim >= 0:
            values = np.pad(values, (0, max(0, options.change_dim - len(values))))
            values = values[: options.change_dim]
        return values if options.scale == 1 else values * np.float32(options.scale)

    _copy("vector", vector, vector_out, options.binary, changed, "vectors")


@kaldi_command(
    "copy-matrix",
    "copy matrices, such as features or transforms, or one file of a matrix",
    (
        "matrix-rspecifier:matrix matrix-wspecifier:matrix",
        "matrix-rxfilename matrix-wxfilename",
    ),
    BINARY,
    Option("scale", 1.0, "factor, before all else"),
    Option("apply-log", False, "natural logarithms of the numbers"),
    Option("apply-exp", False, "the exponential function of the numbers"),
    Option("apply-power", 1.0, "the numbers to this power"),
    Lack("apply-softmax-per-row", "false", "posteriors of other recognisers come as such"),
)
def copy_matrix(options: Any, matrix: Any, matrix_out: Any) -> None:
    """Copy a table of matrices, or one file."""
    import numpy as np

    if options.apply_log + options.apply_exp + (options.apply_power != 1) > 1:
        raise UsageError("give one of --apply-log, --apply-exp and --apply-power")

    def changed(values: np.ndarray) -> np.ndarray:
        values = values if options.scale == 1 else values * np.float32(options.scale)
        if options.apply_log:
            if (values < 0).any():
                raise DataError("has negative numbers, of which there is no logarithm")
            with np.errstate(divide="ignore"):
                return np.log(values)
        if options.apply_exp:
            return np.exp(values)
        return values if options.apply_power == 1 else values**options.apply_power

    _copy("matrix", matrix, matrix_out, options.binary, changed, "matrices")


@kaldi_command(
    "feat-to-len",
    "tell how many frames features have: of each utterance, or of all together",
    (
        "feats-rspecifier:matrix [length-wspecifier:int]",
        "feats-rspecifier:matrix length-wxfilename",
    ),
)
def feat_to_len(options: Any, feats: Any, length_out: Any = None) -> None:
    """Write a table of lengths, or one number."""
    total, tally = 0, Tally()
    for key, matrix in feats:
        total += len(matrix)
        if length_out is not None and not isinstance(length_out, str):
            length_out.write(key, len(matrix))
        tally.done += 1
    tally.end()
    if length_out is None:
        print(total)
    elif isinstance(length_out, str):
        from ivector.base.files import write_text

        write_text(length_out, f"{total}\n")


@kaldi_command(
    "subsample-feats",
    "keep every n-th frame of features, or repeat each",
    "feats-rspecifier:matrix feats-wspecifier:matrix",
    Option("n", 1, "keep one frame in n; −n repeats each frame n times"),
    Option("offset", 0, "the first frame that is kept, counted from 0"),
)
def subsample_feats(options: Any, feats: Any, feats_out: Any) -> None:
    """Write some of the frames."""
    import numpy as np

    if not options.n or options.offset < 0 or (options.n < 0 and options.offset):
        raise UsageError("--n is not 0, and --offset not negative nor given with --n below 0")
    tally = Tally()
    for key, matrix in feats:
        if options.n < 0:
            kept = np.repeat(matrix, -options.n, axis=0)
        else:
            kept = matrix[options.offset :: options.n]
        if not len(kept):
            tally.miss(key, f"no frame of {len(matrix)} would be kept")
            continue
        feats_out.write(key, kept)
        tally.done += 1
    tally.end()


def _copy(holder: str, source: Any, target: Any, binary: bool, changed: Any, things: str) -> None:
    from ivector.base.errors import named

    if isinstance(source, str):
        _copy_file(holder, source, target, binary, changed)
        return
    tally = Tally(things)
    for key, values in source:
        with named(key):
            target.write(key, changed(values))
        tally.done += 1
    tally.end()


def _copy_file(holder: str, source: str, target: str, binary: bool, changed: Any = None) -> None:
    from ivector.base.errors import named
    from ivector.base.tables.holders import HOLDERS
    from ivector.base.tables.reading import read_object
    from ivector.base.tables.streams import open_output

    values = read_object(source, HOLDERS[holder])
    with named(source) if changed else contextlib.nullcontext():
        values = changed(values) if changed else values
    with open_output(target) as file:
        HOLDERS[holder].write(file, values, not binary)
