"""Digest of the code that a step computes with: it tells whether results are of the code as it is.

What counts are the syntax trees of the project's modules that the step's module imports, directly
and through others, without what changes no number: comments, layout, docstrings, and the arguments
of ``raise`` and of calls that log, warn or print. What a step takes by name from a table (networks,
back-ends) it names itself, so that another entry does not count. Trees are read once a
change of a file, and kept beside the compiled modules where that folder can be written; not beside
what pip has installed.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.base.lazy import names_of_stub

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("ivector", "plda", "dnn", "fusion", "recipes")
# Of the frame around the computations: how something is run, refused, said or kept is no result.
IDLE = (
    "recipes.engine", "recipes.systems", "recipes.validate", "recipes.steps.__main__",
    "ivector.base.log", "ivector.base.cli", "ivector.base.commands", "ivector.base.extras",
    "recipes.commands", "fusion.commands", "dnn.commands",
)  # fmt: skip
# Calls that only say something: of these names, or methods of these objects.
_SAYING, _SPEAKERS = {"print", "warn_degenerate", "warn_caller"}, {"logger", "logging", "warnings"}
_KEPT = "syntax-trees.json"


def code_digest(*modules: str) -> str:
    """Digest of all the code that modules of the project compute with.

    Parameters
    ----------
    *modules : str
        Dotted names.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name in sorted(set().union(*map(closure, modules))):
        if not name.startswith(IDLE):
            total.update(f"{name} {_facts(name)[0]}\n".encode())
    return total.hexdigest()[:16]


def closure(module: str) -> set[str]:
    """Modules of the project that a module imports, at any distance, and itself."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and find(name) is not None:
            found.add(name)
            if not name.startswith(IDLE):
                waiting += _facts(name)[1]
    return found


@functools.cache
def find(module: str) -> Path | None:
    """File of a module of the project; None if there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    init = path / "__init__.py"
    return init if init.is_file() else None


@functools.cache
def _facts(module: str) -> tuple[str, list[str]]:
    """Digest of a module's syntax tree, and the modules of the project that it imports."""
    path = find(module)
    assert path is not None
    status = path.stat()
    state = [status.st_mtime_ns, status.st_size]
    kept = _trees().get(module)
    if not kept or kept[0] != state:
        tree = ast.parse(path.read_bytes())
        imported = sorted(set(_imports(tree)))
        kept = [state, hashlib.sha256(_text(tree).encode()).hexdigest()[:16], imported]
        _trees()[module] = kept
        _changed.append(module)
    return kept[1], kept[2]


_changed: list[str] = []


@functools.cache
def _trees() -> dict[str, list]:
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads((_home() / _KEPT).read_text(encoding="utf-8"))
        if isinstance(kept, dict) and kept.pop("reader", None) == _reader():
            return kept
    return {}


def _reader() -> str:
    """Digest of this module: another way to read trees gives other digests of them."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _home() -> Path:
    return Path(importlib.util.cache_from_source(str(Path(__file__).resolve()))).parent


def keep_trees() -> None:
    """Keep what was read of changed files for the next process, where that can be written."""
    if _changed and (ROOT / "setup.cfg").is_file():
        with contextlib.suppress(OSError, DataError):
            write_text(_home() / _KEPT, json.dumps({"reader": _reader(), **_trees()}))
        _changed.clear()


def _imports(tree: ast.Module) -> Iterator[str]:
    """Modules of the project that a tree imports; for attached names those that define them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if _ours(one.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _ours(node.module):
            for one in node.names:
                inner = f"{node.module}.{one.name}"
                yield inner if find(inner) else _attached(node.module).get(one.name, node.module)


def _ours(module: str) -> bool:
    return module.partition(".")[0] in ROOMS


@functools.cache
def _attached(package: str) -> dict[str, str]:
    """Names that a package imports on first use, with the modules that define them."""
    stub = ROOT.joinpath(*package.split("."), "__init__.pyi")
    return names_of_stub(stub.read_text(encoding="utf-8")) if stub.is_file() else {}


def _text(node: object) -> str:
    """A tree as text, without places and without what changes no number.

    Fields that are empty are left out, as every Python has some that others do not.
    """
    if isinstance(node, ast.AST):
        kind = type(node)
        parts = []
        for name in kind._fields:
            value = getattr(node, name, None)
            if name == "body" and isinstance(value, list) and _is_docstring(value):
                value = value[1:]
            elif name in ("args", "keywords") and _says(node):
                value = []
            elif kind is ast.Raise and isinstance(value, ast.Call):
                value = value.func
            if value is not None and value != []:
                parts.append(f"{name}={_text(value)}")
        return f"{kind.__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    return repr(node)


def _is_docstring(body: list) -> bool:
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _says(node: ast.AST) -> bool:
    """Whether a node is a call that logs, warns or prints; ``np.log`` is none."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id in _SPEAKERS
    return isinstance(node.func, ast.Name) and node.func.id in _SAYING
