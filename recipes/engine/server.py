"""One process imports everything once; every stage is forked from it, as its number comes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from ivector.base.cli import guarded
from ivector.base.errors import Exit, UserError, set_options
from recipes.engine.console import PAST
from recipes.engine.driver import names_of, run_stage, stages
from recipes.engine.marks import files_state, sources
from recipes.engine.settings import TABLE, Settings
from recipes.systems import STAGES

PROG = "run.sh"
ANSWERS = 4  # file descriptor of the exit statuses
SIGNALS = {signal.SIGINT, signal.SIGTERM}
SHORT_S = 1.0  # a stage that took less had nothing to do


def serve(settings: Settings) -> int:
    """Run stages as their numbers come by standard input; answer with their exit statuses.

    While one is at work, what the next ones need is imported. Where the project's code was changed
    since this process began, a stage is run by a process that imports it anew.
    """
    children: list[int] = []  # the stage that is at work, if one is
    told: list[int] = []  # exit statuses that signals ask for, since it began
    _pass_on_signals(children, told)
    wanted, past = stages(settings), [0.0, 0.0]
    began_with = files_state()
    sources()  # which the stages inherit
    with open(ANSWERS, "w", encoding="ascii", buffering=1) as answers:
        for line in sys.stdin:
            number, began = int(line), time.monotonic()
            if files_state() == began_with:
                with _held_signals():
                    children.append(_fork(settings, number, answers.fileno()))
                _import_ahead(wanted[wanted.index(number) + 1 :], children[0])
                if number:
                    _look_at_lists(settings)
                _, status = os.waitpid(children[0], 0)
                code = os.waitstatus_to_exitcode(status)
            else:
                words = [sys.executable, "-m", "recipes.steps", str(number), *settings.words]
                with _held_signals():
                    process = subprocess.Popen(words)
                    children.append(process.pid)
                code = process.wait()
            if not code and told:  # it was at its end, and the next one must not begin
                code = told[0]
            children.clear()
            told.clear()
            seconds = time.monotonic() - began
            if seconds > SHORT_S:
                past = [past[0] + seconds, past[1] + STAGES[number].share]
                os.environ[PAST] = f"{past[0]} {past[1]}"
            print(_exit_status(number, code), file=answers)
    sys.stderr.flush()
    os._exit(0)  # what was imported needs no taking down


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Let signals wait while a process begins, which `obey_signals` lets through there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _pass_on_signals(children: Sequence[int], told: list[int]) -> None:
    """A signal ends the stage that is at work; this process itself only between two."""
    former = signal.getsignal(signal.SIGTERM)
    assert callable(former)
    end: Callable[..., object] = former

    def on_end(*signalled: object) -> None:
        if not children:
            end(*signalled)
        told.append(Exit.STOPPED)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    def on_interrupt(*_: object) -> None:
        if not children:
            stop()
        told.append(Exit.INTERRUPTED)  # as the stage is, too

    signal.signal(signal.SIGTERM, on_end)
    signal.signal(signal.SIGINT, on_interrupt)


def _fork(settings: Settings, number: int, answers: int) -> int:
    """Number of the process that runs a stage; in that process, this does not return."""
    from ivector.base.parallel.forks import end_with_parent
    from recipes.engine.jobs import name_process

    child = os.fork()
    if child:
        return child
    os.close(answers)
    end_with_parent()
    name_process(f"stage {number}")
    sys.stdin = open(os.devnull)
    status: int = Exit.FAULT
    try:
        status = obey_signals(lambda: run_stage(settings, number))
        sys.stdout.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _import_ahead(numbers: Sequence[int], child: int) -> None:
    """Import what stages need while a child is at work, and no longer."""
    for name in (name for number in numbers for name in names_of(number)):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        importlib.import_module(name)


def _look_at_lists(settings: Settings) -> None:
    """Check the folds' lists here, so that the stages that are forked need not."""
    from recipes.engine.run import Run
    from recipes.experiment.protocol import folds

    run = Run(settings, 0)
    with contextlib.suppress(UserError, OSError):  # the stage will say so
        for part in run.parts():
            folds(part.data, none_is_fine=True)


def _exit_status(number: int, code: int) -> int:
    """Exit status for a shell of a stage that ended; that it was killed is said."""
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    cure = (
        ", as a rule for lack of memory: take fewer processes (--nj) or less memory (--memory)"
        if -code == signal.SIGKILL
        else ""
    )
    print(
        f"{PROG}: error: stage {number} was killed ({name}){cure}; the same command goes on from "
        "there",
        file=sys.stderr,
    )
    return 128 - code


def stop(*_: object) -> None:
    """End what is at work."""
    raise KeyboardInterrupt("stopped; the same command goes on from there")


def obey_signals(body: Callable[[], int]) -> int:
    """Call `body`; the exit status: 130 when interrupted, 75 when told to end."""
    told = []

    def end(*_: object) -> None:
        told.append(Exit.STOPPED)
        stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, end)
    set_options({name: option.flag for name, option in TABLE.options.items()})

    def obeying() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            return body()
        finally:  # what has ended cannot be told to
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    status = guarded(PROG, obeying)
    return told[0] if told and status == Exit.INTERRUPTED else status
