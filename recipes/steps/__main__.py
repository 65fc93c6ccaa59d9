"""``python -m recipes.steps NAME [options]``: run one stage script."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from ivector.base.budget import set_memory_limit
from ivector.base.cli import run
from recipes.engine.marks import is_planned, tell
from recipes.engine.stage import dry_run

NAMES = (
    "features", "ubm", "total_variability", "ivectors", "backend", "scores", "gmm_ubm", "fusion",
    "report", "xvector", "xvectors",
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Find the step and run it; it is imported by name, so that worker processes find it too."""
    if not argv or argv[0] not in NAMES:
        wanted = f"error: no step {argv[0]!r}; " if argv and not argv[0].startswith("-") else ""
        print(f"python -m recipes.steps: {wanted}steps are {', '.join(NAMES)}", file=sys.stderr)
        return 0 if argv[:1] == ["--help"] else 2
    step = importlib.import_module(f"recipes.steps.{argv[0]}")

    def main_or_plan(arguments: argparse.Namespace) -> int | None:
        set_memory_limit(arguments.memory)
        return plan(argv[0], step, arguments) if arguments.dry_run else step.main(arguments)

    return run(step.build_parser(), main_or_plan, argv[1:])


def plan(name: str, step: Any, arguments: argparse.Namespace) -> int | None:
    """Say which folds of a step would be run, and why."""
    data = [arguments.data]
    if name == "fusion":
        data.append(arguments.development / "data")
    for folder in data:
        if is_planned(folder):  # what its folds will be is not known
            tell(arguments.exp / arguments.system / f"({name})", [f"follows {folder}"])
            return 0
    if name == "report":
        tell(arguments.exp / name, ["always"])
        return 0
    dry_run()
    return step.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
