"""Chains of steps by name: transforms, then a model that compares vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ivector.base.errors import UsageError
from plda.models.plda import PLDA
from plda.scoring.cosine import Cosine
from plda.transforms.centring import Center, Whiten
from plda.transforms.discriminant import LDA
from plda.transforms.length import LengthNorm

# Each can be fitted on statistics: of vectors that are not in memory.
STEPS: dict[str, Callable[[], Any]] = {
    "center": Center,
    "whiten": Whiten,
    "lda": LDA,
    "length-norm": LengthNorm,
    "plda": PLDA,
    "cosine": Cosine,
}
_MODELS = ("plda", "cosine")
CHAINS = {
    "kaldi": "center lda length-norm plda",
    "vbx": "center length-norm lda length-norm plda",
}


def make_chain(chain: str) -> list[Any]:
    """Untrained steps of a chain.

    Parameters
    ----------
    chain : str
        One of `CHAINS`, or names of `STEPS` with blanks between; the last is a model.

    Raises
    ------
    UsageError
        An unknown name, LDA twice, or a model that is not the last step.

    Examples
    --------
    >>> make_chain("center length-norm cosine")
    [Center(), LengthNorm(), Cosine()]
    """
    names = CHAINS.get(chain, chain).split()
    if unknown := [name for name in names if name not in STEPS]:
        raise UsageError(
            f"`chain` has an unknown step {unknown[0]!r}; give {' or '.join(CHAINS)}, or steps of "
            f"{', '.join(STEPS)} with blanks between"
        )
    if [name in _MODELS for name in names] != [False] * (len(names) - 1) + [True]:
        raise UsageError(f"`chain` ends in {' or '.join(_MODELS)}, which no other step is")
    if names.count("lda") > 1:
        raise UsageError("`chain` has LDA twice; once finds all directions of speakers")
    return [STEPS[name]() for name in names]
