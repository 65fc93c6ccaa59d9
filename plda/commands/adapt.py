"""Adapt a back-end to another domain: ``python -m plda.adapt MODEL VECTORS OUT``.

Whether it is adapted at all is decided by what centring gains vectors that are held out, and said
with the numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ivector.base.cli import Parser, number, whole
from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import read_lines
from plda.commands import COMMANDS

_SHARES = {
    "within": "kaldi, coral+: share of more variance that goes to the within-class covariance",
    "between": "and to the between-class covariance",
    "weight": "interpolation: of the labelled vectors",
}


def make_parser() -> Parser:
    """Describe the command line."""
    from plda.domains.methods import METHODS

    parser = Parser(prog="python -m plda.adapt", description=COMMANDS["adapt"].sentence)
    add = parser.add_argument
    add("model", help="a back-end ending in PLDA: .npz, a folder of run.sh, Kaldi, VBx or "
        "pyannote, or Kaldi's plda file")  # fmt: skip
    add("vectors", help="in-domain vectors, as the back-end takes them: scp, ark, .npz, .npy, HDF5 "
        "or a table")  # fmt: skip
    add("out", help="back-end to write, .npz; of a PLDA alone also in Kaldi's format")
    listed = "; ".join(f"{name}: {method.about}" for name, method in METHODS.items())
    add("--method", choices=METHODS, default="kaldi", help=listed)
    add("--utt2spk", metavar="FILE", help="speakers of the vectors, 'id speaker' a line; "
        "interpolation needs them, and no speaker is adapted to and judged by")  # fmt: skip
    for name, text in _SHARES.items():
        defaults = (f"{m.parameters[name]:g}" for m in METHODS.values() if name in m.parameters)
        add(f"--{name}", type=number(0, 1), metavar="SHARE",
            help=f"{text}; the method's {', '.join(defaults)} by default")  # fmt: skip
    add("--folds", type=whole(2), default=5, help="parts of the vectors, each judged by a model "
        "adapted to the others")  # fmt: skip
    add("--always", action="store_true", help="adapt whatever the evidence says")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, judge, adapt, write."""
    from plda.domains.evidence import THRESHOLD, evidence, in_order
    from plda.domains.methods import adapt_backend, check_method, parts
    from plda.formats.exchange import read_backend
    from plda.formats.vectors import read_ids_vectors

    method, given = arguments.method, {n: getattr(arguments, n) for n in _SHARES}
    given = {name: value for name, value in given.items() if value is not None}
    check_method(method, arguments.utt2spk is not None, given)
    backend = read_backend(arguments.model)
    with named(arguments.model):
        steps, _ = parts(backend)
    if steps and not arguments.out.endswith(".npz"):
        raise UsageError(f"{arguments.out}: a back-end with transforms is written as .npz")
    ids, vectors = read_ids_vectors(arguments.vectors)
    order = in_order(ids)
    ids, vectors = [ids[row] for row in order], vectors[order]
    speakers = _speakers(arguments.utt2spk, ids) if arguments.utt2spk else None
    with named(arguments.vectors):
        found = evidence(backend, vectors, method, speakers, n_folds=arguments.folds, **given)
        print(
            f"{method}: log-likelihood of {found.n_vectors} vectors, each held out in one of "
            f"{found.n_folds} folds: {found.before:.3f} as it is, {found.after:.3f} adapted; gain "
            f"{found.gain:+.3f} ± {found.error:.3f} nats a vector"
        )
        print(
            f"centring alone gains {found.shift:+.3f} ± {found.shift_error:.3f} nats a dimension; "
            f"above {THRESHOLD:g} adaptation is worth it"
        )
        if found.adapts or arguments.always:
            backend = adapt_backend(backend, vectors, method, speakers, **given)
    _write(backend, arguments.out)
    if found.adapts:
        print(f"adapted: {arguments.out}")
    elif arguments.always:
        print(f"adapted all the same (--always): {arguments.out}")
    else:
        print(f"not adapted, as too little is gained: {arguments.out} is the back-end as it was")


def _write(backend: Any, out: str) -> None:
    from plda.formats.exchange import write_backend
    from plda.formats.models import write_plda

    if out.endswith(".npz"):
        write_backend(backend, out)
    else:
        write_plda(backend[-1], out)


def _speakers(path: str, ids: list[str]) -> list[str]:
    """Speakers of vectors, from 'id speaker' a line."""
    speakers: dict[str, str] = {}
    for line_number, line in enumerate(read_lines(Path(path)), 1):
        fields = line.split()
        if len(fields) not in (0, 2):
            raise DataError(f"{path}, line {line_number}: expected 'id speaker', got {line!r}")
        if fields and speakers.setdefault(*fields) != fields[1]:
            raise DataError(
                f"{path}, line {line_number}: {fields[0]} is of {fields[1]}, and of "
                f"{speakers[fields[0]]} before; give it one speaker"
            )
    if missing := [key for key in ids if key not in speakers]:
        raise DataError(
            f"{path}: no speaker for {missing[0]}, one of {len(missing)}; give every vector's"
        )
    return [speakers[key] for key in ids]
