"""Runs the stages of a recipe, or says what they would do."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

from ivector.base.budget import set_memory_limit
from recipes.engine.settings import Settings
from recipes.systems import SHARED, STAGES, SYSTEMS, trunk_of


def stages(settings: Settings) -> list[int]:
    """Numbers of the stages that a run has something to do in."""
    values = settings.common
    wanted = {0, 1, 10} | ({9} if values.dev_folds else set())
    for system in settings.systems:
        wanted |= set(SYSTEMS[system].steps.values())
        if system != trunk_of(system):
            wanted |= {n for step, n in SYSTEMS[trunk_of(system)].steps.items() if step in SHARED}
    return [n for n in sorted(wanted) if (values.stage or 0) <= n <= values.stop_stage]


def names_of(number: int) -> list[str]:
    """Modules of the steps of a stage."""
    return [f"recipes.steps.{name}" for group in STAGES[number].steps for name in group]


def steps_of(number: int) -> Iterator[list[ModuleType]]:
    """Steps of a stage, one group after the other."""
    for group in STAGES[number].steps:
        yield [importlib.import_module(f"recipes.steps.{name}") for name in group]


def forced(settings: Settings) -> bool:
    """Whether what is finished is made again: a stage was named, and not to be resumed."""
    return settings.common.stage is not None and not settings.common.resume


def plan_stage(settings: Settings, number: int) -> None:
    """Say what a stage would do."""
    from recipes.engine.jobs import show_plan
    from recipes.engine.run import Run

    run = Run(settings, number, forced(settings))
    for group in steps_of(number):
        show_plan([job for step in group for job in step.jobs(run)], settings.common.keep_finished)
        names = [step.__name__.rpartition(".")[2] for step in group]
        show_plan(list(run.unknown_jobs(names)), False)


def run_stage(settings: Settings, number: int) -> int:
    """Run all steps of a stage."""
    from recipes.engine.code import keep_trees
    from recipes.engine.console import Console
    from recipes.engine.jobs import reasons_of, run_jobs, side_by_side
    from recipes.engine.run import Run
    from recipes.engine.stage import settle

    values = settings.common
    nj = values.nj or cores()
    set_memory_limit(values.memory)
    console = Console(number, values.stop_stage, stages(settings), values.verbose)
    console.open(values.exp / "log" / f"stage{number}.log")
    use_workers(values.backend, values.scheduler)
    run, made, left = Run(settings, number, forced(settings), console.say), 0, 0
    for group in steps_of(number):
        jobs = [job for step in group for job in step.jobs(run)]
        keep_trees()
        todo = [job for job in jobs if reasons_of(job, values.keep_finished)]
        for done in (job for job in jobs if job not in todo and not job.in_place):
            settle(done.target)
        left += len(jobs) - len(todo)
        if todo:
            beside = sum(not job.alone for job in todo)
            console.begin(len(todo), side_by_side(beside, nj, values.backend, values.memory))
            run_jobs(todo, console, nj, values.backend, values.memory, values.keep_finished)
            made += len(todo)
    if made or left:
        console.end(made, left)
    return 0


def use_workers(backend: str, scheduler: str) -> None:
    """Choose what runs shards."""
    from ivector.base.parallel.shards import use_backend

    use_backend(backend, scheduler or None)


def cores() -> int:
    """Cores that this process may use."""
    import joblib

    return joblib.cpu_count()
