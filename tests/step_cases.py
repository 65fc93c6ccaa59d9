"""A small experiment, run stage by stage in the test's own process."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from ivector.base import budget
from ivector.base.cli import guarded
from ivector.base.parallel.shards import use_backend
from recipes.engine import marks
from recipes.engine.server import PROG
from recipes.steps.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ("--prepare-options=--speakers 8 --sessions 4",)
SMALL = (
    "--num-components 8 --rank 8 --lda-dim 4 --num-iters-diag 5 --num-iters-full 2 "
    "--num-iters-tv 2 --mfcc-config recipes/conf/mfcc_8k.conf --bootstrap 50"
).split()
# Files that hold times or the names of folders.
UNLIKE = {"log", "done.json", "options.json"}


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """What a stage's process sets up for itself, once, is undone behind a block."""
    root = logging.getLogger()
    handlers, level, limit = list(root.handlers), root.level, budget._limit_mb
    marks._planned.clear()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        budget._limit_mb = limit
        use_backend()


def call(*words: str) -> int:
    """``python -m recipes.steps WORD...`` in this process; a mistake is raised."""
    with own_process():
        return main(words)


def recipe(*words: str) -> int:
    """The same as a command; its exit status."""
    return guarded(PROG, lambda: call(*words))


def places(folder: Path) -> list[str]:
    """Options that put data and experiment into a folder."""
    return ["--data", str(folder / "data"), "--exp", str(folder / "exp")]


def run_stage(folder: Path, number: int | str, *options: str) -> int:
    """A stage, or ``plan``, with data and experiment in a folder."""
    return recipe(str(number), *places(folder), *options)


def run_stages(folder: Path, numbers: Iterable[int], *options: str) -> Path:
    """Stages that must end well; the folder."""
    for number in numbers:
        assert run_stage(folder, number, *options) == 0, f"stage {number}"
    return folder


def results(folder: Path, unlike: Iterable[str] = UNLIKE) -> dict[str, bytes]:
    """Bytes of every file in a folder that must be the same wherever it was made."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name not in unlike and path.suffix != ".scp"  # they name their folder
    }
