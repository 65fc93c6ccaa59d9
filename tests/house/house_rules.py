"""The rules of the house, as functions of a source tree; each returns one line per violation.

The import graph is read from the syntax, not by importing: imports inside functions and under
``TYPE_CHECKING`` count, and a name that a package attaches lazily, from its stub, counts as an
import of the module that defines it. Lines name files, so that whoever reads one knows where to go.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("ivector", "plda", "dnn", "fusion", "recipes")
# Room to the rooms that it may import from; the longest name that fits a module is its room.
ROOMS = {
    "ivector.base": ("ivector.base",),
    "ivector": ("ivector",),
    "plda": ("plda", "ivector.base"),
    "fusion": ("fusion", "ivector.base"),
    "dnn": ("dnn", "ivector"),
    "recipes": ("recipes", "ivector", "plda", "dnn", "fusion"),
}
MAX_LINES = 450
MAX_MODULES = 16
# A line of a map: a name at its very start, two spaces or more, words about it.
MAP_LINE = re.compile(r"^([\w.]+)/? {2,}\S", re.MULTILINE)

STUB_LINE = re.compile(r"from [\w.]+ import (\w+) as \1|__version__: str")


@dataclass(frozen=True)
class Arrow:
    """One import: who, where, what module is reached, and by which name inside it, if any."""

    importer: str
    line: int
    target: str
    name: str = ""


@dataclass
class Module:
    """A Python file of the product."""

    name: str
    file: str  # relative to the root, as messages say it
    tree: ast.Module
    is_package: bool
    lazy: dict[str, str] = field(default_factory=dict)  # names attached lazily to their modules


class House:
    """The modules of a source tree and the imports between them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages = [package for package in PACKAGES if (root / package).is_dir()]
        self.modules = {
            module.name: module
            for package in self.packages
            for path in sorted((root / package).rglob("*.py"))
            for module in [_read(root, path)]
        }
        self.arrows = [
            arrow
            for module in self.modules.values()
            for arrow in self._arrows(module)
            # A program may import itself, so that its classes have a name in worker processes too.
            if arrow.target != module.name or not _is_in_main(module.tree, arrow.line)
        ]
        # What packages attach lazily is imported by them once somebody asks: no part of a circle,
        # unless somebody does, but bound to the other rules.
        self.attached = [
            Arrow(module.name, 1, self._known(source), name)
            for module in self.modules.values()
            for name, source in module.lazy.items()
            if self._known(source)
        ]

    def folders(self) -> list[Path]:
        """Folders with Python modules, sorted."""
        return sorted({(self.root / module.file).parent for module in self.modules.values()})

    def _arrows(self, module: Module) -> Iterator[Arrow]:
        bound: dict[str, str] = {}  # names of this file that are modules of the product
        attributes = []
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute):
                attributes.append(node)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if target := self._known(alias.name):
                        top = alias.name.partition(".")[0]
                        bound[alias.asname or top] = target if alias.asname else top
                        yield Arrow(module.name, node.lineno, target)
            elif isinstance(node, ast.ImportFrom):
                if not (source := self._known(_absolute(node, module))):
                    continue
                for alias in node.names:
                    target, name = self._definition(source, alias.name)
                    if not name:
                        bound[alias.asname or alias.name] = target
                    yield Arrow(module.name, node.lineno, target, name)
                    if target != source and not _is_inside(module.name, source):
                        yield Arrow(module.name, node.lineno, source)
        for node in attributes:
            if isinstance(node.value, ast.Name) and node.value.id in bound:
                target, name = self._definition(bound[node.value.id], node.attr)
                if target != bound[node.value.id] or _is_private(name):
                    yield Arrow(module.name, node.lineno, target, name)

    def _known(self, name: str) -> str:
        """The module of that name, or the nearest package around it; empty where not ours."""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name

    def _definition(self, source: str, name: str) -> tuple[str, str]:
        """Module that ``from source import name`` reaches, and the name in it if it is none."""
        passed = set()  # so that tables that name each other come to an end
        while f"{source}.{name}" not in self.modules:
            passed.add(source)
            following = self._known(self.modules[source].lazy.get(name, ""))
            if not following or following in passed:
                return source, name
            source = following
        return f"{source}.{name}", ""


def circles(house: House) -> list[str]:
    """Circles between modules; each module stands in at most one line.

    An import of ``a.b.c`` from elsewhere runs ``a/__init__`` and ``a/b/__init__`` too, so that it
    is an arrow to these as well.
    """
    reached: dict[str, set[str]] = {name: set() for name in house.modules}
    for arrow in house.arrows:
        parents = arrow.target.split(".")[:-1]
        packages = {".".join(parents[: n + 1]) for n in range(len(parents))} & set(house.modules)
        outside = {package for package in packages if not _is_inside(arrow.importer, package)}
        reached[arrow.importer] |= {arrow.target, *outside}
    found, seen = [], set()
    for name in reached:
        if name not in seen and (circle := _way_back(reached, name)):
            seen.update(circle)
            found.append("circle: " + " -> ".join(house.modules[n].file for n in circle))
    return found


def wrong_arrows(house: House) -> list[str]:
    """Imports upward or sideways between the rooms, and of recipes from anywhere."""
    lines: dict[tuple[str, int], str] = {}  # one for each statement
    for arrow in house.arrows + house.attached:
        room = _room(arrow.importer)
        if not any(_is_inside(arrow.target, allowed) for allowed in ROOMS[room]):
            lines.setdefault(
                (arrow.importer, arrow.line),
                f"{house.modules[arrow.importer].file}:{arrow.line} imports "
                f"{house.modules[arrow.target].file}, but {room} may import from "
                f"{', '.join(ROOMS[room])} only",
            )
    return sorted(lines.values())


def wrong_maps(house: House) -> list[str]:
    """Modules and sub-packages that their package's docstring does not name, and the reverse."""
    lines = []
    reached = {arrow.target for arrow in house.arrows}
    for folder in house.folders():
        init = folder / "__init__.py"
        where = init.relative_to(house.root).as_posix()
        name = ".".join(folder.relative_to(house.root).parts)
        if name not in house.modules:  # no package, so that it may hold programs, but no modules
            if any(_is_inside(target, name) for target in reached):
                lines.append(f"{where} is not there, though modules of its folder are imported")
            continue
        named = MAP_LINE.findall(ast.get_docstring(house.modules[name].tree) or "")
        there = {path.stem for path in folder.glob("*.py") if path != init}
        there |= {path.name for path in folder.iterdir() if any(path.rglob("*.py"))}
        # A map may also name scripts and other folders, with their whole names.
        others = {path.name for path in folder.iterdir()}
        lines += [f"{where}: its map does not name {name}" for name in sorted(there - set(named))]
        lines += [
            f"{where}: its map names {name}, which is not there"
            for name in named
            if name not in there | others
        ]
    return lines


def too_large(house: House) -> list[str]:
    """Files of too many lines and folders of too many modules."""
    lines = []
    for package in house.packages:
        for path in sorted((house.root / package).rglob("*")):
            if path.suffix in (".py", ".sh") and path.is_file():
                n_lines = len(path.read_text(encoding="utf-8").splitlines())
                if n_lines > MAX_LINES:
                    file = path.relative_to(house.root).as_posix()
                    lines.append(f"{file} has {n_lines} lines, more than {MAX_LINES}")
    for folder in house.folders():
        n_modules = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        if n_modules > MAX_MODULES:
            file = folder.relative_to(house.root).as_posix()
            lines.append(f"{file} holds {n_modules} modules, more than {MAX_MODULES}")
    return lines


def wrong_stubs(house: House) -> list[str]:
    """Stubs with other lines than `ivector.base.lazy` reads; packages with half of stub and table.

    One name a line: ``from MODULE import NAME as NAME``; type checkers take no other for public.
    """
    lines = []
    for module in house.modules.values():
        stub = house.root / (module.file + "i")
        called = (node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call))
        attaches = any(isinstance(name, ast.Name) and name.id == "attach" for name in called)
        if attaches != stub.is_file():
            lines.append(f"{module.file} must attach its public names, and {stub.name} list them")
        elif attaches:
            told = stub.read_text(encoding="utf-8").splitlines()
            lines += [
                f"{module.file}i:{number} is no line: from MODULE import NAME as NAME"
                for number, line in enumerate(told, start=1)
                if line and not STUB_LINE.fullmatch(line)
            ]
    return lines


def private_imports(house: House) -> list[str]:
    """Underscore modules, and underscore names of a module, that another module uses."""
    lines = []
    for arrow in house.arrows + house.attached:
        parts = [part for part in arrow.target.split(".") if _is_private(part)]
        if _is_private(arrow.name):
            parts.append(arrow.name)
        if parts and arrow.importer != arrow.target:
            lines.append(
                f"{house.modules[arrow.importer].file}:{arrow.line} imports {parts[-1]} from "
                f"{house.modules[arrow.target].file}, where it is private"
            )
    return sorted(set(lines))


def _read(root: Path, path: Path) -> Module:
    """A file as a module, with the names that it attaches lazily if it is a package."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    file = path.relative_to(root).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"), file)
    lazy = _lazy_names(path.with_suffix(".pyi")) if is_package else {}
    return Module(".".join(parts[:-1] if is_package else parts), file, tree, is_package, lazy)


def _lazy_names(stub: Path) -> dict[str, str]:
    """The names that a package's stub imports, and the package on first use: name to module."""
    tree = ast.parse(stub.read_text(encoding="utf-8")) if stub.is_file() else ast.Module([], [])
    return {
        alias.asname or alias.name: node.module or ""
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    """The module that a ``from ... import`` names, relative or not."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) + module.is_package - node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _is_in_main(tree: ast.Module, line: int) -> bool:
    """Whether a line is under ``if __name__ == "__main__"``."""
    return any(
        isinstance(node, ast.If)
        and ast.unparse(node.test) == "__name__ == '__main__'"
        and node.lineno <= line <= (node.end_lineno or 0)
        for node in tree.body
    )


def _way_back(reached: dict[str, set[str]], start: str) -> list[str]:
    """A shortest way from a module back to itself, with both ends; empty where there is none."""
    before: dict[str, str] = {}
    queue = [start]
    for name in queue:
        for following in sorted(reached[name]):
            if following == start:
                way = [start, name]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if following not in before:
                before[following] = name
                queue.append(following)
    return []


def _is_inside(name: str, package: str) -> bool:
    """Whether a module is a package or lies in it."""
    return name == package or name.startswith(package + ".")


def _room(name: str) -> str:
    """The room of a module: the innermost of `ROOMS` that it lies in."""
    return max((room for room in ROOMS if _is_inside(name, room)), key=len)


def _is_private(name: str) -> bool:
    """Whether a name is marked as private: one underscore; Python's own have two at both ends."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))
