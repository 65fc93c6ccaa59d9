"""``python -m recipes.steps NAME [options]``: run one stage script."""

from __future__ import annotations

import importlib
import sys

from ivector.base.cli import run

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
    return run(step.build_parser(), step.main, argv[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
