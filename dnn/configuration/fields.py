"""How a field of the configuration is declared, and what is a value of it.

A field is declared where it stands, in `dnn.configuration.sections`, by one of the functions here:
what it takes, its default, and in one line why one would change it and what that costs. Options of
commands, configuration files and the documentation are made from nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST = {int: 2**62, float: sys.float_info.max}  # beyond it no computer counts
DECLARED = "declared"  # key of a dataclass field's metadata
MANY = 1000  # values of a list that may have any number


@dataclass(frozen=True)
class Declared:
    """What a field takes, and what is said of it.

    Attributes
    ----------
    kind : type
        int, float, bool, str, or dict for options of a network or a loss.
    why : str
        One line: why one would change it and what that costs.
    least, most : float
        Of a number.
    choices : callable, optional
        Gives the names that a text is one of; called late, as some need torch.
    synonyms : mapping of str to str
        Other names of choices.
    steps : bool
        A number of steps or, below 1, a share of the training.
    several : int
        Most values of a list; 0 for a single value.
    none : str
        What None, or an empty list, stands for; "" where there must be a value.
    options : tuple of str
        On the command line; by default of the field's name.
    metavar : str
    same_weights : bool
        Whether trainings that differ in it alone are of the same weights (save rounding).
    """

    kind: type
    why: str
    least: float = -math.inf
    most: float = math.inf
    choices: Callable[[], Collection[str]] | None = None
    synonyms: Mapping[str, str] = field(default_factory=dict)
    steps: bool = False
    several: int = 0
    none: str = ""
    options: tuple[str, ...] = ()
    metavar: str = ""
    same_weights: bool = False

    def check(self, value: Any) -> Any:
        """The value in the type that the configuration keeps.

        Raises
        ------
        ValueError
            It is none; the text goes on a sentence that names the field.
        """
        if value is None or (self.several and value in ([], ())):
            if not self.none:
                raise ValueError(f"takes {self.takes()}, and must have a value")
            return () if self.several else None
        if not self.several:
            return self._check_one(value)
        values = value if isinstance(value, (list, tuple)) else [value]
        if len(values) > self.several:
            raise ValueError(f"takes at most {self.several} values, not {len(values)}")
        return tuple(map(self._check_one, values))

    def takes(self) -> str:
        """What a value is, in words."""
        if self.choices is not None:
            return f"one of {', '.join(self.choices())}"
        if self.kind is int or self.kind is float:
            if self.steps:
                return "numbers of steps or, below 1, shares of the training"
            least = "" if math.isinf(self.least) else f" from {self._said(self.least)}"
            most = "" if math.isinf(self.most) else f" to {self._said(self.most)}"
            return f"{'whole numbers' if self.kind is int else 'numbers'}{least}{most}"
        if self.kind is dict:
            return "options by name"
        return "true or false" if self.kind is bool else "a text"

    def _said(self, bound: float) -> str:
        return str(int(bound)) if self.kind is int else f"{bound:g}"

    def _check_one(self, value: Any) -> Any:
        right = {
            int: isinstance(value, int) and not isinstance(value, bool),
            float: isinstance(value, (int, float)) and not isinstance(value, bool),
            bool: isinstance(value, bool),
            str: isinstance(value, str),
            dict: isinstance(value, Mapping),
        }[self.kind]
        if right and self.kind in (int, float):
            right = (
                -_MOST[self.kind] <= value <= _MOST[self.kind] and self.least <= value <= self.most
            )
            right = right and not (self.steps and value >= 1 and value != int(value))
        elif right and self.choices is not None:
            value = self.synonyms.get(value, value)
            right = value in self.choices()
        if not right:
            raise ValueError(f"takes {self.takes()}, not {value!r}")
        return dict(value) if self.kind is dict else self.kind(value)


def whole(default: Any, why: str, least: int, most: float = math.inf, **more: Any) -> Any:
    """A field of whole numbers."""
    return _declare(default, Declared(int, why, least, most, **{"metavar": "N", **more}))


def number(default: Any, why: str, least: float, most: float = math.inf, **more: Any) -> Any:
    """A field of numbers."""
    return _declare(default, Declared(float, why, least, most, **{"metavar": "X", **more}))


def steps_or_share(default: float | None, why: str, **more: Any) -> Any:
    """A field of steps: a whole number of them or, below 1, a share of the training."""
    return number(default, why, 0, steps=True, **{"metavar": "N", **more})


def choice(
    default: str | None, why: str, names: Iterable[str] | Callable[[], Collection[str]], **more: Any
) -> Any:
    """A field of names; `names` may be a function that gives them when they are asked for."""
    if callable(names):
        return _declare(default, Declared(str, why, choices=names, **more))
    listed = tuple(names)
    return _declare(default, Declared(str, why, choices=lambda: listed, **more))


def switch(default: bool, why: str, **more: Any) -> Any:
    """A field that is true or false."""
    return _declare(default, Declared(bool, why, **more))


def text(default: str | None, why: str, **more: Any) -> Any:
    """A field of text, as the names of files and devices."""
    return _declare(default, Declared(str, why, **more))


def table(why: str, **more: Any) -> dict[str, Declared]:
    """Metadata of a field of options by name, which whoever takes them checks."""
    return {DECLARED: Declared(dict, why, **{"metavar": "NAME=VALUE", **more})}


def declared_fields(section: type) -> dict[str, Declared]:
    """The fields of a section, by name."""
    return {f.name: f.metadata[DECLARED] for f in dataclasses.fields(section)}


def _declare(default: Any, declared: Declared) -> Any:
    return field(default=default, metadata={DECLARED: declared})
