#!/usr/bin/env python
"""A Dask cluster on SLURM: the scheduler in this process, the workers as jobs of dask-jobqueue.

    python recipes/cluster/slurm/start.py --jobs 50 --scheduler-file exp/slurm/scheduler.json &
    bash recipes/run.sh --backend dask --scheduler exp/slurm/scheduler.json

It runs until it is told to end (SIGTERM, SIGINT), keeps that many worker jobs queued or running,
and cancels them in the end. What a worker job is, jobqueue.yaml says. ``--print`` shows the job
script that would be submitted.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:  # run as a script, of a copy that is not installed
    sys.path.insert(0, str(ROOT))

from ivector.base.cli import guarded  # noqa: E402
from ivector.base.extras import told_extra  # noqa: E402

DEFAULTS = Path(__file__).with_name("jobqueue.yaml")


def configure() -> None:
    """Take what ``~/.config/dask`` says, and where it is silent, ``jobqueue.yaml`` beside this."""
    import dask_jobqueue  # noqa: F401, I001  (first: it puts its empty defaults)
    import dask
    import yaml

    own = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    dask.config.update(dask.config.config, own)
    dask.config.update(dask.config.config, dask.config.collect())


def make_cluster(scheduler_file: Path | None = None, **more: Any) -> Any:
    """The cluster, without workers yet."""
    from dask_jobqueue import SLURMCluster

    options = {} if scheduler_file is None else {"scheduler_file": str(scheduler_file)}
    return SLURMCluster(python=sys.executable, scheduler_options=options, **more)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10, help="worker jobs (default: %(default)s)")
    parser.add_argument(
        "--scheduler-file",
        type=Path,
        default=Path("exp/slurm/scheduler.json"),
        help="where the scheduler writes its address, on a disk that all nodes see "
        "(default: %(default)s)",
    )
    parser.add_argument("--print", action="store_true", help="print a worker's job script and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script."""
    arguments = build_parser().parse_args(argv)
    return guarded("start.py", lambda: _start(arguments))


def _start(arguments: argparse.Namespace) -> int:
    """Keep the cluster until this process is told to end."""
    with told_extra():
        configure()
    if arguments.print:
        with make_cluster() as cluster:
            print(cluster.job_script())
        return 0
    path = arguments.scheduler_file.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: sys.exit(0))
    try:
        with make_cluster(path) as cluster:
            # Least = most: as many as asked for, and a job that ended or was lost is replaced.
            cluster.adapt(minimum_jobs=arguments.jobs, maximum_jobs=arguments.jobs)
            print(f"scheduler {cluster.scheduler_address}, in {path}", file=sys.stderr, flush=True)
            while True:
                signal.pause()
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())
