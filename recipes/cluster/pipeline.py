#!/usr/bin/env python
"""The recipe as a Kubeflow pipeline (kfp v2): every component is one command of ``recipes/run.sh``.

    python recipes/cluster/pipeline.py --commands                 what the components run, by hand
    python recipes/cluster/pipeline.py --compile pipeline.yaml    to upload to Kubeflow Pipelines
    python recipes/cluster/pipeline.py --local exp/pipeline       all of it here, without a cluster

Data and experiments lie on a shared volume, one sub-folder a run. A stage leaves whole files there
and marks itself as done, so a component whose machine was taken away is simply run again and goes
on from what it finds; Kubeflow's own cache, which does not look at the volume, is switched off.

Needs kfp (``pip install -e .[pipeline]``) for all but ``--commands``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script, of a copy that is not installed
    sys.path.insert(0, str(ROOT))

from ivector.base.cli import guarded  # noqa: E402
from ivector.base.extras import told_extra  # noqa: E402
from recipes.systems import DEFAULT_SYSTEMS, SHARED, STAGES, trunk_of  # noqa: E402
from recipes.systems import SYSTEMS as TABLE  # noqa: E402

NAME = "ivector-plda"
IMAGE = "ivector-plda:latest"
CLAIM = "ivector-workspace"  # kubernetes/storage.yaml makes it
VOLUME = "/workspace"
MINIATURE = "--config recipes/cluster/miniature.conf"
SYSTEMS = (*DEFAULT_SYSTEMS, "xvector")
ALL_SYSTEMS = tuple(TABLE)
# What a stage asks of its machine when it computes itself; the rest take `CPU` and `MEMORY`.
CPU, MEMORY = "8", "16G"
CPUS = {0: "4", 10: "2"}
MEMORIES = {0: "4G", 1: "8G", 3: "32G", 4: "32G", 9: "32G", 10: "8G"}


@dataclass(frozen=True)
class Step:
    """One component.

    Parameters
    ----------
    name : str
    arguments : str
        Of ``run.sh``: which system and stages.
    after : tuple of str
        Names of the components that it waits for.
    systems : tuple of str
        The systems that need it; empty: all.
    cpu, memory : str
        What it asks of its machine when it computes itself; with ``--backend dask`` the workers
        do, and a quarter is enough.
    trains_network : bool
        Gains from a GPU.
    """

    name: str
    arguments: str
    after: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    cpu: str = CPU
    memory: str = MEMORY
    trains_network: bool = False


def _of_stage(
    name: str, number: int, after: tuple[str, ...], system: str = "", users: tuple[str, ...] = ()
) -> Step:
    """Component that runs one stage, of a system or of all."""
    choice = f"--system {system} " if system else "--system all " if number >= 9 else ""
    return Step(
        name,
        f"{choice}--stage {number} --stop-stage {number}",
        after,
        users,
        CPUS.get(number, CPU),
        MEMORIES.get(number, MEMORY),
        bool(system) and TABLE[system].network and number == 7,
    )


def _slug(number: int) -> str:
    return STAGES[number].name.lower().replace(" ", "-")


def make_steps() -> tuple[Step, ...]:
    """Components of all systems, from the tables of stages and of systems, in order."""
    steps = [_of_stage("corpus", 0, ()), _of_stage("features", 1, ("corpus",))]
    last: dict[tuple[str, bool], str] = {}
    for system, entry in TABLE.items():
        trunk = trunk_of(system)
        after = last.get((trunk, True), "features")
        for number in sorted(set(entry.steps.values())):
            shared = all(step in SHARED for step, n in entry.steps.items() if n == number)
            users = tuple(s for s in TABLE if trunk_of(s) == system)
            name = f"{system}-{_slug(number)}"
            users = users if shared else (system,)
            steps.append(_of_stage(name, number, (after,), system, users))
            after = name
            if shared:
                last[system, True] = name
        last[system, False] = after
    ends = tuple(name for (_, shared), name in last.items() if not shared)
    steps.append(_of_stage(_slug(9), 9, ends))
    return (*steps, _of_stage("report", 10, (_slug(9),)))


STEPS = make_steps()


def chosen(systems: Sequence[str]) -> list[Step]:
    """Components that these systems need, in order."""
    return [step for step in STEPS if not step.systems or set(step.systems) & set(systems)]


def command(step: Step, systems: Sequence[str]) -> str:
    """Command of a component, as one types it in the repository.

    ``--resume true``: what is there already is left alone. ``--data``, ``--exp`` and the options of
    the run are appended.
    """
    words = ["bash", "recipes/run.sh", *step.arguments.split(), "--resume", "true"]
    if "--system all" in step.arguments:
        words += ["--systems", " ".join(systems)]
    return shlex.join(words)


def whole_command(step: Step, systems: Sequence[str], work: str, options: str) -> str:
    """Command of a component with all that the pipeline appends to it."""
    folders = ["--data", f"{work}/data", "--exp", f"{work}/exp"]
    return " ".join([command(step, systems), shlex.join(folders), options]).strip()


def make_pipeline(
    systems: Sequence[str] = SYSTEMS, image: str = IMAGE, claim: str = CLAIM, gpu: bool = False
) -> Any:
    """The pipeline in kfp's terms."""
    from recipes.cluster import components

    steps = chosen(systems)
    commands = [command(step, systems) for step in steps]
    work = f"{VOLUME}/synthetic"
    return components.make_pipeline(NAME, steps, commands, work, image, claim, VOLUME, gpu)


def compile_pipeline(path: Path, **choices: Any) -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines."""
    from kfp import compiler

    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(make_pipeline(**choices), str(path))


def run_locally(work: Path, options: str, systems: Sequence[str] = SYSTEMS) -> None:
    """Run every component in a process of this machine, with kfp's SubprocessRunner.

    Retries, resources and volumes have no meaning there. What the components hand to Kubeflow lies
    in ``WORK/kubeflow``.
    """
    from kfp import local

    os.chdir(ROOT)  # where the commands are to be given
    os.environ["PYTHON"] = sys.executable
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner=runner, pipeline_root=str(work / "kubeflow"))
    make_pipeline(systems)(options=options, work=str(work))


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--commands", action="store_true", help="print the command of each component")
    what.add_argument("--compile", type=Path, metavar="FILE", help="write the pipeline there")
    what.add_argument("--local", type=Path, metavar="WORK", help="run it here, with WORK as volume")
    parser.add_argument(
        "--options",
        default=MINIATURE,
        help="more for run.sh, as one word; for --local and --commands (a compiled pipeline asks "
        "for them when it is started), default: %(default)s",
    )
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=ALL_SYSTEMS)
    parser.add_argument("--image", default=IMAGE, help="container image (see Containerfile)")
    parser.add_argument("--claim", default=CLAIM, help="claim of the shared volume")
    parser.add_argument("--gpu", action="store_true", help="networks are trained on a GPU")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script."""
    arguments = build_parser().parse_args(argv)
    if arguments.commands:
        for step in chosen(arguments.systems):
            words = whole_command(step, arguments.systems, VOLUME + "/RUN", arguments.options)
            print(f"# {step.name}\n{words}")
        return 0
    return guarded("pipeline.py", lambda: _build(arguments))


def _build(arguments: argparse.Namespace) -> int:
    """Compile the pipeline, or run it here."""
    with told_extra():
        import kfp  # noqa: F401
    if arguments.compile:
        compile_pipeline(
            arguments.compile,
            systems=arguments.systems,
            image=arguments.image,
            claim=arguments.claim,
            gpu=arguments.gpu,
        )
    else:
        work = arguments.local.resolve()
        run_locally(work, arguments.options, arguments.systems)
        print((work / "exp/report/results.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
