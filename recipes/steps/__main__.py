"""``python -m recipes.steps STAGE [options of run.sh]``: run the steps of a stage.

STAGE is its number, or ``check`` (print what ``run.sh`` needs to know of the options), ``plan``
(say what all stages would do, and why, and do nothing) or ``serve`` (run stages as their numbers
come, see `recipes.engine.server`).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence

from ivector.base.errors import UsageError
from ivector.base.extras import MissingExtraError
from recipes.engine.driver import plan_stage, run_stage, stages
from recipes.engine.server import obey_signals, serve
from recipes.engine.settings import TABLE, Settings, folder_of_command, read
from recipes.systems import STAGES

USAGE = """Usage: bash recipes/run.sh [--NAME VALUE]...

Values come from recipes/conf/CORPUS.conf and CORPUS.SYSTEM.conf, over these from files of
NAME=VALUE given with --config FILE, over these from the command line. What is finished is left
alone, and the same command goes on with a run that was stopped; --stage N repeats from stage N on.
Stages: {stages}."""
HELP = 3  # exit status of a check that was asked for help


def main(argv: Sequence[str]) -> int:
    """Do what the first word asks for."""
    what, *words = argv or ["check"]
    if what == "check" and {"--help", "-h"} & set(words):
        named = ", ".join(f"{number} {stage.name}" for number, stage in enumerate(STAGES))
        print(USAGE.format(stages=named), *TABLE.help(), sep="\n")
        return HELP
    settings = read(words, folder_of_command())
    if what == "check":
        return check(settings)
    if what == "plan":
        for number in stages(settings):
            plan_stage(settings, number)
        return 0
    if what == "serve":
        return serve(settings)
    if not what.isdigit() or int(what) >= len(STAGES):
        raise UsageError(f"no stage {what!r}; stages are 0 to {len(STAGES) - 1}")
    return run_stage(settings, int(what))


def check(settings: Settings) -> int:
    """Look at what the table cannot; print which stages are to be run, and what must be there."""
    values = settings.common
    if values.prepare_options or values.protocol:
        from recipes.steps.corpus import options_of

        options_of(settings)
    if values.xvector_config is not None:
        from recipes.steps.networks.xvector import configuration

        configuration(settings.of["xvector"])
    if "embedder" in settings.systems:
        from recipes.steps.networks.embedder import shard_of

        with contextlib.suppress(MissingExtraError):  # installed after this
            shard_of(settings.of["embedder"]).probe()
    told = {
        "needs": ",".join(settings.needs),
        "stages": " ".join(map(str, stages(settings))),
        "dry_run": str(values.dry_run).lower(),
        "portable": str(values.portable).lower(),
    }
    for name, value in told.items():
        print(f"{name}={shlex.quote(value)}")
    return 0


def cli(argv: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return obey_signals(lambda: main(argv))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # By name, so that worker processes find everything.
    from recipes.steps.__main__ import cli as entry

    raise SystemExit(entry(sys.argv[1:]))
