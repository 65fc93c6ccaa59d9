"""Configurations in files, TOML or JSON: a table for each section, of the fields that are changed.

::

    [model] name = "ecapa" pooling = "statistics" options = {channels = 256}

    [training]
    steps = 20000

What a file does not name keeps the task's default. A key that is unknown, or whose value is none of
its field's, is refused with the name that comes nearest.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dnn.configuration.presets import Preset
from dnn.configuration.sections import FIELDS, SECTIONS, NetworkConfig
from ivector.base.errors import UsageError
from ivector.base.files import read_lines, write_text

KINDS = (".toml", ".json")


def read_config(path: str | os.PathLike, preset: Preset) -> dict[str, Any]:
    """Values that a file gives, by key, each checked.

    Parameters
    ----------
    path : path-like
        ``.toml`` or ``.json``; TOML needs Python 3.11.
    preset : Preset
        Of the task; a field that it does not take is refused.

    Raises
    ------
    DataError
        The file cannot be read.
    UsageError
        It is neither TOML nor JSON, or holds a key that is unknown or whose value is wrong.

    Examples
    --------
    >>> from dnn.configuration import PRESETS
    >>> _ = Path("mine.json").write_text('{"model": {"name": "ecapa"}, "training": {"steps": 500}}')
    >>> read_config("mine.json", PRESETS["train"])
    {'model.name': 'ecapa', 'training.steps': 500}
    """
    values = {}
    for section, table in _load(Path(path)).items():
        if section not in SECTIONS:
            raise UsageError(f"{path}: {section}: no such section{nearest(section, SECTIONS)}")
        if not isinstance(table, Mapping):
            raise UsageError(f"{path}: {section}: holds fields, not {table!r}")
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in FIELDS:
                raise UsageError(f"{path}: {key}: no such key{nearest(key, FIELDS)}")
            values[key] = checked(f"{path}: {key}", key, value, preset)
    return values


def write_config(
    path: str | os.PathLike, config: NetworkConfig, without: Iterable[str] = ()
) -> None:
    """Write a configuration; in TOML with what is said of its fields.

    Parameters
    ----------
    path : path-like
        ``.toml`` or ``.json``.
    config : NetworkConfig
    without : iterable of str
        Fields that are left out, such as those that a task does not take.

    Raises
    ------
    UsageError
        The name ends neither in .toml nor in .json.
    DataError
        It cannot be written.

    Examples
    --------
    >>> from dnn.configuration import PRESETS
    >>> preset = PRESETS["train"]
    >>> write_config("mine.toml", preset.config(), preset.without)
    >>> print(Path("mine.toml").read_text().splitlines()[0])
    [model]  # The network.
    """
    if Path(path).suffix == ".json":
        write_text(path, json.dumps(_given(config, without), indent=1) + "\n")
    elif Path(path).suffix == ".toml":
        write_text(path, toml_text(config, without))
    else:
        raise _wrong_ending(Path(path))


def toml_text(config: NetworkConfig, without: Iterable[str] = ()) -> str:
    """A configuration as commented TOML, without some of its fields.

    What has no value, as the network's own pooling, stands there as a comment.
    """
    lines = []
    for section, cls in SECTIONS.items():
        lines += [f"[{section}]  # {(cls.__doc__ or '').splitlines()[0]}"]
        for key, declared in FIELDS.items():
            if key.partition(".")[0] != section or key in without:
                continue
            name, value = key.partition(".")[2], config[key]
            said = f"{name} = {_toml(value)}" if value not in (None, ()) else f"# {name} ="
            lines.append(f"{said}  # {declared.why}")
        lines.append("")
    return "\n".join(lines)


def checked(where: str, key: str, value: Any, preset: Preset) -> Any:
    """A value for a field of a task; `where` is how the user named it.

    Raises
    ------
    UsageError
        The task does not take the field, or not this value.
    """
    if key in preset.without:
        raise UsageError(f"{where}: is none of this task's: {preset.without[key]}")
    try:
        value = FIELDS[key].check(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if value is not None and value not in preset.choices.get(key, (value,)):
        raise UsageError(f"{where}: takes one of {', '.join(preset.choices[key])}, not {value!r}")
    return value


def nearest(word: str, names: Iterable[str]) -> str:
    """``; did you mean NAME?``, or what there is where nothing comes near."""
    known = list(names)
    near = difflib.get_close_matches(word, known, 1)
    if not near:  # perhaps the name is right, and its section another or missing
        near = [name for name in known if name.endswith(f".{word.rpartition('.')[2]}")][:1]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(dict.fromkeys(name.partition('.')[0] for name in known))}"


def _load(path: Path) -> dict[str, Any]:
    if path.suffix not in KINDS:
        raise _wrong_ending(path)
    content = "\n".join(read_lines(path))
    try:
        loaded = json.loads(content) if path.suffix == ".json" else _read_toml(path, content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(loaded, dict):
        raise UsageError(f"{path}: holds sections with fields, not {loaded!r}")
    return loaded


def _read_toml(path: Path, content: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:
        raise UsageError(
            f"{path}: TOML is read by Python 3.11 and newer; write it as JSON"
        ) from None
    return tomllib.loads(content)


def _wrong_ending(path: Path) -> UsageError:
    return UsageError(f"{path}: a configuration's name ends in .toml or .json")


def _given(config: NetworkConfig, without: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Values by section and name, but for those that are left to somebody else."""
    nested: dict[str, dict[str, Any]] = {}
    for key, value in config.items().items():
        if value not in (None, ()) and key not in without:
            section, _, name = key.partition(".")
            nested.setdefault(section, {})[name] = value
    return nested


def _toml(value: Any) -> str:
    """A value as TOML has it, which for all but tables is as in JSON."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
