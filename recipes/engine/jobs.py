"""Jobs of a stage side by side: a process each, forked from one that has imported everything.

What a job makes is the same bytes however many run beside it. On Linux a job runs in a fork of the
stage's process, which costs no import; elsewhere, with a cluster, with threads, or where a job
needs all there is, one after the other in this process, each with all workers.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ivector.base.budget import available_memory
from ivector.base.errors import DataError, UserError
from ivector.base.log import listen
from ivector.base.parallel.forks import end_with_parent, forked_processes, plain_record
from ivector.base.parallel.workers import one_thread
from recipes.engine.console import Console
from recipes.engine.marks import tell
from recipes.engine.run import Job
from recipes.engine.stage import in_place, stage, why

MOST_LOSSES = 3  # of a worker, before a job is given up
PATIENCE_S = 20.0  # for workers that are to end


def reasons_of(job: Job, keep: bool) -> list[str]:
    """Why a job has to be done; nothing if it is."""
    found = why(job.target, job.options, job.upstream, False, job.code, keep)
    found = found or (job.gone() if job.gone else [])
    return found or [job.forced_by] * job.force


def do(job: Job, nj: int, keep: bool) -> None:
    """Do a job in this process."""
    if job.in_place:
        with in_place(job.target, job.options, job.in_place, job.code) as work:
            job.body(work, nj)
        return
    with stage(job.target, job.options, job.upstream, job.force, job.code, keep) as work:
        if work is not None:
            with one_thread():
                job.body(work, nj)


def run_jobs(
    jobs: Sequence[Job],
    console: Console,
    nj: int = 1,
    backend: str = "loky",
    memory: int = 2048,
    keep: bool = False,
) -> None:
    """Do jobs, side by side as far as processes and memory go.

    Parameters
    ----------
    jobs : sequence of Job
        None of which waits for another.
    console : Console
    nj : int
        Processes in all.
    backend : str
        Of the shards within a job.
    memory : int
        MiB that a process may take.
    keep : bool
        Leave what is finished though its code has changed.
    """
    beside = [job for job in jobs if not job.alone]
    at_once = side_by_side(len(beside), nj, backend, memory)
    alone = [job for job in jobs if job.alone or at_once == 1]
    can_fork = sys.platform == "linux" and backend == "loky"
    for number, job in enumerate(alone):
        # Joblib's processes would outlive the stage's by minutes, waiting for more.
        forks = forked_processes() if can_fork else contextlib.nullcontext()
        with _listening(lambda *told, number=number: console.tell(number, *told)), forks:
            do(job, nj, keep)
        console.finished(number)
    if at_once > 1:
        inner = max(1, min(nj, room_for(memory)) // at_once)
        _Workers(beside, console, at_once, inner, keep).run()


def side_by_side(n_jobs: int, nj: int, backend: str, memory: int) -> int:
    """How many jobs run at once: as many as there are processes, and memory for."""
    if sys.platform != "linux" or backend != "loky" or min(n_jobs, nj) < 2:
        return 1
    return min(n_jobs, nj, room_for(memory))


def room_for(memory: int) -> int:
    """How many processes of so many MiB there is room for, at least one."""
    return max(1, int(available_memory() // memory))


@contextlib.contextmanager
def _listening(hear: Any) -> Iterator[None]:
    listen(lambda text, count, total, rate: hear(text, count, total))
    try:
        yield
    finally:
        listen(None)


@dataclass
class _Worker:
    """A forked process and the pipe to it, and the job that it does."""

    process: Any
    pipe: Connection
    job: int | None = None


class _Workers:
    """Forked processes that do jobs, one after the other.

    A worker that is killed is replaced and its job begun again, which goes on from what it left.
    """

    def __init__(self, jobs: Sequence[Job], console: Console, count: int, nj: int, keep: bool):
        self.jobs, self.console, self.nj, self.keep = jobs, console, nj, keep
        self.context = multiprocessing.get_context("fork")
        self.waiting = deque(range(len(jobs)))
        self.losses: dict[int, int] = {}
        self.workers: list[_Worker] = []
        self.count = count

    def run(self) -> None:
        """Do all jobs.

        Raises
        ------
        UserError
            As a job raised it; the others are stopped.
        """
        try:
            for _ in range(self.count):
                self.workers.append(self._start())
            while busy := [worker for worker in self.workers if worker.job is not None]:
                for pipe in wait([worker.pipe for worker in busy]):
                    worker = next(w for w in busy if w.pipe is pipe)
                    try:
                        self._hear(worker, *worker.pipe.recv())
                    except (EOFError, ConnectionResetError):
                        self._replace(worker)
        finally:
            self._stop()

    def _start(self) -> _Worker:
        mine, theirs = self.context.Pipe()
        inherited = [worker.pipe for worker in self.workers] + [mine]
        process = self.context.Process(target=self._work, args=(theirs, inherited), daemon=False)
        process.start()
        theirs.close()
        worker = _Worker(process, mine)
        self._give(worker)
        return worker

    def _give(self, worker: _Worker) -> None:
        worker.job = self.waiting.popleft() if self.waiting else None
        with contextlib.suppress(BrokenPipeError):  # it is replaced when its end is read
            worker.pipe.send(worker.job)

    def _hear(self, worker: _Worker, what: str, *told: Any) -> None:
        if what == "progress":
            self.console.tell(worker.job or 0, *told)
        elif what == "log":
            record = told[0]
            logging.getLogger(record.name).handle(record)
            if record.levelno == logging.INFO and record.name.startswith("ivector"):
                self.console.tell(worker.job or 0, record.msg, 0, None)  # EM's objective
        elif what == "error":
            raise told[0]
        else:
            self.console.finished(worker.job or 0)
            self._give(worker)

    def _replace(self, worker: _Worker) -> None:
        """Begin the job of a worker that was killed again, in another."""
        assert worker.job is not None
        worker.process.join()
        lost = self.losses[worker.job] = self.losses.get(worker.job, 0) + 1
        if lost >= MOST_LOSSES:
            raise DataError(
                f"{self.jobs[worker.job].target}: its process was killed {lost} times, as a rule "
                "for lack of memory; take fewer processes (--nj) or less memory (--memory)"
            )
        logging.getLogger("recipe").warning(
            "%s: its process was killed; it is begun again", self.jobs[worker.job].target
        )
        self.waiting.appendleft(worker.job)
        self.workers.remove(worker)
        worker.pipe.close()
        self.workers.append(self._start())

    def _stop(self) -> None:
        """End all workers; those at work may keep what they have."""
        for worker in self.workers:
            if worker.job is not None and worker.process.is_alive():
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def _work(self, pipe: Connection, inherited: Sequence[Connection]) -> None:
        """What a worker does until it is given no more; never returns to the stage's code."""
        for other in inherited:
            other.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage's process ends its workers
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent()
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
        root.addHandler(_ToParent(pipe))
        while (number := pipe.recv()) is not None:
            try:
                listen(lambda text, count, total, rate: pipe.send(("progress", text, count, total)))
                with forked_processes():
                    do(self.jobs[number], self.nj, self.keep)
            except BaseException as error:
                pipe.send(("error", _sendable(error)))
                return
            pipe.send(("done",))


class _ToParent(logging.Handler):
    """Sends log records to the stage's process, as text."""

    def __init__(self, pipe: Connection):
        super().__init__(logging.INFO)
        self.pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self.pipe.send(("log", plain_record(record)))


def _sendable(error: BaseException) -> BaseException:
    """An error as the stage's process may raise it: a user's as it is, others with their trace."""
    if isinstance(error, UserError | OSError | MemoryError):
        return error
    import traceback

    return RuntimeError("".join(traceback.format_exception(error)))


def name_process(name: str) -> None:
    """Name this process for ``ps`` and ``top``, where the system lets it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, name.encode()[:15])  # PR_SET_NAME


def show_plan(jobs: Sequence[Job], keep: bool) -> None:
    """Say what would be done, and why."""
    for job in jobs:
        tell(job.target, reasons_of(job, keep))
