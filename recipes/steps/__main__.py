"""``python -m recipes.steps STAGE [options of run.sh]``: run the steps of a stage.

STAGE is its number, or ``check`` (print what ``run.sh`` needs to know of the options), ``plan``
(say what all stages would do, and why, and do nothing) or ``serve``: run the stages whose numbers
come by standard input, each in a process forked from this one, which has imported everything once,
and answer on file descriptor 4 with the exit status of each.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from ivector.base.budget import set_memory_limit
from ivector.base.cli import guarded
from ivector.base.errors import UsageError
from recipes.engine.settings import TABLE, Settings, folder_of_command, read
from recipes.systems import SHARED, STAGES, SYSTEMS, trunk_of

PROG = "run.sh"
USAGE = """Usage: bash recipes/run.sh [--NAME VALUE]...

Values come from recipes/conf/CORPUS.conf and CORPUS.SYSTEM.conf, over these from files of
NAME=VALUE given with --config FILE, over these from the command line. What is finished is left
alone, and the same command goes on with a run that was stopped; --stage N repeats from stage N on.
Stages: {stages}."""


def main(argv: Sequence[str]) -> int:
    """Do what the first word asks for."""
    what, *words = argv or ["check"]
    if what == "check":
        return check(words)
    settings = read(words, folder_of_command())
    if what == "plan":
        for number in stages(settings):
            plan_stage(settings, number)
        return 0
    if what == "serve":
        return serve(settings)
    if not what.isdigit() or int(what) >= len(STAGES):
        raise UsageError(f"no stage {what!r}; stages are 0 to {len(STAGES) - 1}")
    return run_stage(settings, int(what))


def check(words: Sequence[str]) -> int:
    """Read all options; print for the shell which stages are to be run, and what must be there."""
    if "--help" in words or "-h" in words:
        named = ", ".join(f"{number} {stage.name}" for number, stage in enumerate(STAGES))
        print(USAGE.format(stages=named), *TABLE.help(), sep="\n")
        raise SystemExit(3)
    settings = read(words, folder_of_command())
    if settings.common.prepare_options:
        from recipes import prepare

        prepare.parse(settings.common.corpus, settings.common.prepare_options.split(),
                      settings.common.data)  # fmt: skip
    if settings.common.xvector_config is not None:
        from recipes.steps.xvector import configuration

        configuration(settings.of["xvector"])
    told = {
        "needs": ",".join(settings.needs),
        "stages": " ".join(map(str, stages(settings))),
        "dry_run": str(settings.common.dry_run).lower(),
    }
    for name, value in told.items():
        print(f"{name}={shlex.quote(value)}")
    return 0


def stages(settings: Settings) -> list[int]:
    """Numbers of the stages that a run has something to do in."""
    values = settings.common
    wanted = {0, 1, 10} | ({9} if values.dev_folds else set())
    for system in settings.systems:
        wanted |= set(SYSTEMS[system].steps.values())
        if system != trunk_of(system):
            wanted |= {n for step, n in SYSTEMS[trunk_of(system)].steps.items() if step in SHARED}
    return [n for n in sorted(wanted) if (values.stage or 0) <= n <= values.stop_stage]


def steps_of(number: int) -> Iterator[list]:
    """Modules of the steps of a stage, one group after the other."""
    for group in STAGES[number].steps:
        yield [importlib.import_module(f"recipes.steps.{name}") for name in group]


def plan_stage(settings: Settings, number: int) -> None:
    """Say what a stage would do."""
    from recipes.engine.jobs import show_plan
    from recipes.engine.run import Run

    run = Run(settings, number, forced(settings))
    for group in steps_of(number):
        show_plan([job for step in group for job in step.jobs(run)], settings.common.keep_finished)


def forced(settings: Settings) -> bool:
    """Whether what is finished is made again: a stage was named, and not to be resumed."""
    return settings.common.stage is not None and not settings.common.resume


def run_stage(settings: Settings, number: int) -> int:
    """Run all steps of a stage."""
    from recipes.engine.code import keep_trees
    from recipes.engine.console import Console
    from recipes.engine.jobs import reasons_of, run_jobs, side_by_side
    from recipes.engine.run import Run

    values = settings.common
    nj = values.nj or cores()
    set_memory_limit(values.memory)
    console = Console(number, values.stop_stage, stages(settings), values.verbose)
    console.open(values.exp / "log" / f"stage{number}.log")
    _use(values.backend, values.scheduler)
    run, made, left, shown = Run(settings, number, forced(settings)), 0, 0, False
    for group in steps_of(number):
        jobs = [job for step in group for job in step.jobs(run)]
        keep_trees()
        todo = [job for job in jobs if reasons_of(job, values.keep_finished)]
        left += len(jobs) - len(todo)
        if todo:
            console.begin(len(todo), side_by_side(len(todo), nj, values.backend, values.memory))
            run_jobs(todo, console, nj, values.backend, values.memory, values.keep_finished)
            made, shown = made + len(todo), True
    if shown or left:
        console.end(made, left)
    return 0


def serve(settings: Settings) -> int:
    """Run stages as their numbers come, each in a fork; meanwhile import what is needed next."""
    children: list[int] = []  # the stage that is at work, if one is
    former = signal.getsignal(signal.SIGTERM)
    assert callable(former)
    end: Callable[..., object] = former

    def on_end(*told: object) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        if not children:
            end(*told)

    def on_interrupt(*_: object) -> None:
        if not children:  # else it is told, too
            _stop()

    signal.signal(signal.SIGTERM, on_end)
    signal.signal(signal.SIGINT, on_interrupt)
    wanted = stages(settings)
    with open(4, "w", encoding="ascii", buffering=1) as answers:
        for line in sys.stdin:
            number = int(line)
            child = os.fork()
            if not child:
                answers.close()
                os._exit(_forked(settings, number))
            children.append(child)
            _import_ahead(wanted[wanted.index(number) + 1 :], child)
            _, status = os.waitpid(child, 0)
            children.clear()
            print(_exit_status(number, os.waitstatus_to_exitcode(status)), file=answers)
    return 0


def _import_ahead(numbers: Sequence[int], child: int) -> None:
    """Import what stages need while a child is at work, and no longer."""
    for number in numbers:
        for name in (name for group in STAGES[number].steps for name in group):
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            importlib.import_module(f"recipes.steps.{name}")


def _exit_status(number: int, code: int) -> int:
    """Exit status for a shell of a stage that ended; that it was killed is said."""
    if code >= 0:
        return code
    print(
        f"{PROG}: error: stage {number} was killed ({signal.Signals(-code).name}), as a rule for "
        "lack of memory: take fewer processes (--nj) or less memory (--memory); the same command "
        "goes on from there",
        file=sys.stderr,
    )
    return 128 - code


def _forked(settings: Settings, number: int) -> int:
    """Run a stage in this fork, which ends with the server."""
    from recipes.engine.jobs import end_with_parent, name_process

    end_with_parent()
    name_process(f"stage {number}")
    sys.stdin = open(os.devnull)
    status = _obey_signals(lambda: run_stage(settings, number))
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _use(backend: str, scheduler: str) -> None:
    from ivector.base.shards import use_backend

    use_backend(backend, scheduler or None)


def cores() -> int:
    """Cores that this process may use."""
    import joblib

    return joblib.cpu_count()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt("stopped; the same command goes on from there")


def _obey_signals(body: Callable[[], int]) -> int:
    """Call `body`; the exit status: 130 when interrupted, 75 when told to end."""
    told = []

    def stop(*_: object) -> None:
        told.append(75)
        _stop()

    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, stop)
    status = guarded(PROG, body)
    return told[0] if told and status == 130 else status


def cli(argv: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return _obey_signals(lambda: main(argv))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # By name, so that worker processes find everything.
    from recipes.steps.__main__ import cli as entry

    raise SystemExit(entry(sys.argv[1:]))
