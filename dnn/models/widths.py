"""Networks of another width than their default, by one factor for all of them."""

from __future__ import annotations

from typing import Any

from dnn.models import MODELS
from dnn.registry import defaults
from ivector.base.errors import UsageError

OPTIONS = ("width", "dim", "channels")  # whichever a network has first is its width


def widened(name: str, width: float) -> dict[str, Any]:
    """Options of a network that make it `width` times as wide as its default.

    VGG-M has the option itself; a Conformer's model dimension, and the channels of the others, are
    multiplied and rounded to a multiple of 8.

    Raises
    ------
    UsageError
        The network has no width to change, or the factor is not above 0.
    """
    if not width > 0:
        raise UsageError(f"a width is a factor above 0, not {width}")
    if width == 1.0 or name not in MODELS:  # which `dnn.models.build` refuses
        return {}
    options = defaults(MODELS[name])
    for option in OPTIONS:
        value = options.get(option)
        if option == "width" and value is not None:
            return {option: width * value}
        if isinstance(value, tuple):
            return {option: tuple(_eighths(width * v) for v in value)}
        if value is not None:
            return {option: _eighths(width * value)}
    raise UsageError(f"{name} has no width to change; use its own options")


def _eighths(value: float) -> int:
    return 8 * max(1, round(value / 8))
