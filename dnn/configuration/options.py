"""The configuration as options of a command, and from them: task, then file, then command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnn.configuration.fields import Declared
from dnn.configuration.files import checked, read_config
from dnn.configuration.presets import Preset
from dnn.configuration.sections import FIELDS, SECTIONS, NetworkConfig
from dnn.registry import read_options
from ivector.base.cli import number, whole

PREFIX = "network "  # of the options' places among the parsed arguments, apart from all others


def add_options(parser: argparse.ArgumentParser, preset: Preset, *leave: str) -> None:
    """Add ``--config`` and an option for every field that the task takes, in groups by section.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    preset : Preset
    *leave : str
        Fields for which the command has options of its own.

    Examples
    --------
    >>> from dnn.configuration import PRESETS
    >>> parser = argparse.ArgumentParser()
    >>> add_options(parser, PRESETS["train"])
    >>> configure(parser.parse_args(["--model", "ecapa"]), PRESETS["train"])["model.name"]
    'ecapa'
    """
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="values of the options below, in TOML or JSON (docs/networks.md); those on the "
        "command line win",
    )  # fmt: skip
    config = preset.config()
    for section, cls in SECTIONS.items():
        group = parser.add_argument_group(section, (cls.__doc__ or "").splitlines()[0])
        for key, declared in FIELDS.items():
            if key.startswith(f"{section}.") and key not in {*preset.without, *leave}:
                _add(group, key, declared, preset, config[key])


def configure(
    arguments: argparse.Namespace, preset: Preset, last: Mapping[str, Any] | None = None
) -> NetworkConfig:
    """The configuration of a task, of the file and options that were given.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of a parser that `add_options` was called on.
    preset : Preset
    last : mapping of str to object, optional
        Values that the command sets by options of its own.

    Raises
    ------
    DataError
        The file cannot be read.
    UsageError
        Something that is no value of its field, or a field that the task does not take. What goes
        together is looked at by `dnn.configuration.sections.check_together`.

    Examples
    --------
    >>> from dnn.configuration import PRESETS
    >>> parser = argparse.ArgumentParser()
    >>> add_options(parser, PRESETS["train"])
    >>> config = configure(parser.parse_args(["--lr", "0.01", "--steps", "500"]), PRESETS["train"])
    >>> config.schedule.lr, config.training.steps
    (0.01, 500)
    """
    config = preset.config()
    if arguments.config is not None:
        config = config.changed(read_config(arguments.config, preset))
    given = {}
    for key in FIELDS:
        if hasattr(arguments, PREFIX + key):
            option = option_names(key)[0]
            value = getattr(arguments, PREFIX + key)
            if FIELDS[key].kind is dict:
                value = {**config[key], **read_options(value, option)}
            given[key] = checked(option, key, value, preset)
    return config.changed({**given, **(last or {})})


def option_names(key: str) -> tuple[str, ...]:
    """What a field is called on the command line."""
    name = key.partition(".")[2].replace("_", "-")
    return FIELDS[key].options or (f"--{name}",)


def _add(group: Any, key: str, declared: Declared, preset: Preset, default: Any) -> None:
    """Add one option; what is not given is not among the parsed arguments."""
    names = option_names(key)
    common: dict[str, Any] = {
        "dest": PREFIX + key,
        "default": argparse.SUPPRESS,
        "help": f"{declared.why} ({_told(declared, default)})".replace("%", "%%"),
    }
    if declared.metavar:
        common["metavar"] = declared.metavar
    if declared.kind is bool:
        group.add_argument(*names, action="store_true", **common)
        off = [name.replace("--", "--no-", 1) for name in names]
        group.add_argument(*off, action="store_false", **{**common, "help": argparse.SUPPRESS})
    elif declared.kind is dict:
        group.add_argument(*names, action="append", **common)
    else:
        if declared.several and key not in preset.single:
            common["nargs"] = "+"
        group.add_argument(
            *names, type=_type(declared), **_choices(key, declared, preset), **common
        )


def _type(declared: Declared) -> Any:
    if declared.kind is int:
        return whole(int(declared.least), None if declared.most > 2**62 else int(declared.most))
    if declared.kind is float:
        return number(declared.least, declared.most)
    return str


def _choices(key: str, declared: Declared, preset: Preset) -> dict[str, Any]:
    """Names that the parser itself checks and shows; poolings, which need torch, come later."""
    if key == "model.pooling":
        return {"metavar": "NAME"}
    if declared.choices is None:
        return {}
    names = preset.choices.get(key, declared.choices())
    synonyms = [word for word, name in declared.synonyms.items() if name in names]
    return {"choices": [*names, *synonyms]}


def _told(declared: Declared, default: Any) -> str:
    """The default, in words."""
    if default in (None, ()):
        return f"default: {declared.none or 'none'}"
    if isinstance(default, dict):
        return "may be repeated"
    if isinstance(default, bool):
        return f"default: {'on' if default else 'off'}"
    if declared.several:
        return f"default: {' '.join(f'{value:g}' for value in default)}"
    return f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
