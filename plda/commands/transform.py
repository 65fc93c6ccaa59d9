"""Transform vectors by a back-end: ``python -m plda.transform BACKEND VECTORS OUT``."""

from __future__ import annotations

import argparse
from array import array

from ivector.base.cli import Parser
from ivector.base.errors import DataError, UsageError, named
from plda.commands import COMMANDS


def make_parser() -> Parser:
    """Describe the command line."""
    parser = Parser(prog="python -m plda.transform", description=COMMANDS["transform"].sentence)
    add = parser.add_argument
    add("backend", help="a file of this toolkit (.npz), or a folder of Kaldi, VBx or pyannote")
    add("vectors", help="Kaldi's ark or scp, .npz, .npy with .ids beside it, HDF5, .csv or .tsv")
    add("out", help="written: .ark, .txt (block by block) or .npz; in the precision of the input")
    add(
        "--latent", action="store_true", help="go on into PLDA's space, where the covariance "
        "within speakers is the identity; without it, stop before PLDA",
    )  # fmt: skip
    add(
        "--normalize-length", action="store_true", help="with --latent: scale each vector as PLDA "
        "does before it scores; VBx and pyannote do not",
    )  # fmt: skip
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, transform and write block by block."""
    import numpy as np

    from plda.formats.exchange import read_backend
    from plda.formats.sources import VectorFile
    from plda.formats.vectors import vector_writer

    *steps, model = [step for _, step in read_backend(arguments.backend).steps]
    if not hasattr(model, "scorer"):
        steps, model = [*steps, model], None
    if arguments.latent and not hasattr(model, "psi_"):
        raise UsageError(f"--latent: {arguments.backend} does not end in PLDA; leave it out")
    if arguments.normalize_length and not arguments.latent:
        raise UsageError("--normalize-length is of use with --latent alone; give both")
    hashes = array("q")
    with vector_writer(arguments.out) as write, named(arguments.vectors):
        for ids, X in VectorFile(arguments.vectors).blocks():
            for step in steps:
                X = step.transform(X)
            if arguments.latent:
                X = model.transform(X, normalize_length=arguments.normalize_length)
            hashes.extend(map(hash, ids))
            write(ids, X)
        if len(np.unique(hashes)) < len(hashes):
            raise DataError("an id occurs twice; ids must be unique")
