"""Objects made from a name and plain options, and told back as such, so that a file can hold them.

A class keeps every argument of its constructor as an attribute of the same name (scikit-learn's
habit); `config_of` reads them back, `create` builds from them. Where an argument names a part, the
attribute may be the part itself, whose ``told`` is that name. A configuration is JSON: names,
numbers, booleans and lists, nothing that could run.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from dnn.extra import told_extra
from ivector.base.errors import UsageError


class Entry(NamedTuple):
    """Where a class lives, and the options in which this name differs from its defaults."""

    module: str
    attribute: str
    options: Mapping[str, Any] = {}


def create(table: Mapping[str, Entry], kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """The object that a table knows under a name; `kind` says in errors what was looked for.

    Raises
    ------
    UsageError
        An unknown name, an option that the class does not have, or one that it needs.
    """
    if name not in table:
        raise UsageError(f"no {kind} is called {name!r}; there are {', '.join(sorted(table))}")
    entry = table[name]
    cls = find_class(entry)
    known = parameters(cls)
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"{kind} {name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    given = {**entry.options, **options}
    if absent := [p for p, v in known.items() if v.default is v.empty and p not in given]:
        raise UsageError(f"{kind} {name} needs the option {absent[0]!r}")
    return cls(**given)


def find_class(entry: Entry) -> type:
    """The class of an entry; its module is imported now.

    Raises
    ------
    MissingExtraError
        The module needs a package of the extra ``dnn`` that is not installed.
    """
    with told_extra():
        return getattr(import_module(entry.module), entry.attribute)


def defaults(entry: Entry) -> dict[str, Any]:
    """Options of an entry's class with the values that its name gives them, or None."""
    options = {
        p: None if v.default is v.empty else v.default
        for p, v in parameters(find_class(entry)).items()
    }
    return {**options, **entry.options}


def read_options(words: Iterable[str], option: str = "--model-option") -> dict[str, Any]:
    """Options as a command line gives them, ``NAME=VALUE`` with values in JSON: ``n_blocks=3``.

    Raises
    ------
    UsageError
        A word of another form.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            if not equals:
                raise ValueError
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            raise UsageError(
                f"{option}: takes NAME=VALUE with a value in JSON, not {word!r}"
            ) from None
    return options


def config_of(thing: Any, name: str) -> dict[str, Any]:
    """Name and options of an object, fit for JSON; ``create`` of them makes its equal.

    Options that are None, which leave something to the class, are not told.
    """
    attributes = {p: getattr(thing, p) for p in parameters(type(thing))}
    options = {p: getattr(v, "told", v) for p, v in attributes.items()}
    return {
        "name": name,
        "options": {
            p: list(v) if isinstance(v, tuple) else v for p, v in options.items() if v is not None
        },
    }


def split_config(config: Mapping[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a configuration that may come from a file.

    Raises
    ------
    UsageError
        It is not ``{"name": ..., "options": {...}}``.
    """
    name, options = config.get("name"), config.get("options", {})
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise UsageError(
            f"a {kind} configuration holds a name and options, as config() writes it; "
            f"this one holds {', '.join(map(str, config)) or 'nothing'}"
        )
    return name, dict(options)


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Arguments of a constructor, by name."""
    return dict(inspect.signature(cls).parameters)
