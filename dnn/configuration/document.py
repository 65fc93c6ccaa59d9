"""The configuration as the tables of docs/networks.md, made from the declarations alone.

A test compares the page with what is made here; ``python -m dnn.configuration --page
docs/networks.md`` brings it up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dnn.configuration.fields import MANY, Declared
from dnn.configuration.options import option_names
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import FIELDS, SECTIONS, NetworkConfig
from ivector.base.errors import DataError
from ivector.base.files import write_text

BEGIN, END = "<!-- made by dnn.configuration.document -->", "<!-- end of what is made -->"


def update(path: Path) -> None:
    """Bring a page up to date between its two marks.

    Raises
    ------
    DataError
        It has none.
    """
    before, begun, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise DataError(f"{path}: lacks the marks {BEGIN} and {END}, between which tables stand")
    write_text(path, f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}")


def tables() -> str:
    """The fields by section, the poolings, and the presets, in Markdown."""
    parts = []
    for section, cls in SECTIONS.items():
        parts += [f"### `[{section}]`", (cls.__doc__ or "").splitlines()[0], _fields(section)]
    parts += ["### Poolings", _poolings(), "### Defaults of the tasks", _presets()]
    return "\n\n".join(parts)


def _fields(section: str) -> str:
    usual = NetworkConfig()
    rows = []
    for key, declared in FIELDS.items():
        if key.startswith(f"{section}."):
            options = ", ".join(f"`{option}`" for option in option_names(key))
            rows.append([
                f"`{key.partition('.')[2]}`", options, _takes(declared),
                _value(declared, usual[key]), declared.why,
            ])  # fmt: skip
    return _markdown(["field", "option", "takes", "default", "why, and at what cost"], rows)


def _takes(declared: Declared) -> str:
    if declared.kind is str and declared.choices is not None:
        names = [f"`{name}`" for name in declared.choices()]
        return ", ".join([*names, *(f"`{s}` = `{n}`" for s, n in declared.synonyms.items())])
    several = "" if not declared.several else f"; {_many(declared.several)}"
    return f"{declared.takes()}{several}"


def _many(most: int) -> str:
    return "any number of them" if most == MANY else f"up to {most} of them"


def _poolings() -> str:
    from dnn.models.pooling import POOLINGS

    rows = [[f"`{name}`", (cls.__doc__ or "").splitlines()[0]] for name, cls in POOLINGS.items()]
    return _markdown(["pooling", "what it does to frames"], rows)


def _presets() -> str:
    """Fields of which a task has another default, or which it does not take."""
    usual = NetworkConfig()
    configs = {name: preset.config() for name, preset in PRESETS.items()}
    rows = []
    for key, declared in FIELDS.items():
        if all(config[key] == usual[key] for config in configs.values()):
            continue
        cells = [
            "–" if key in PRESETS[name].without else _value(declared, config[key])
            for name, config in configs.items()
        ]
        rows.append([f"`{key}`", *cells])
    tasks = [f"- `{name}`: {preset.task}" for name, preset in PRESETS.items()]
    return "\n".join(tasks) + "\n\n" + _markdown(["field", *PRESETS], rows)


def _value(declared: Declared, value: Any) -> str:
    if value in (None, (), {}):
        return declared.none or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(f"{one:g}" for one in value)
    if isinstance(value, str):
        return f"`{value}`"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
