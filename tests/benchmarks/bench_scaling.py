"""From features to i-vectors on 1, 10 and 100 hours: time must be linear, memory flat.

    python tests/benchmarks/bench_scaling.py [--hours 1 10 100] [--components 64] [--rank 100]

Frames are drawn on the fly with the statistics of real ones (`frame_world`) and never stored. For
every size a process of its own trains a universal background model (diagonal, then full
covariances), writes compressed statistics, trains a total-variability model from them and
extracts the i-vectors into an archive, on one thread. Times are processor time, which other
processes on the machine disturb less; the generator's is measured where it runs and taken off.
The peak is that of the whole process, imports included; where the system can reset it, of each
stage. The drawn utterances are speech alone: an hour has 360,000 frames.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import frame_world  # noqa: E402

from ivector.formats.arks import ArkWriter  # noqa: E402
from ivector.formats.statistics import StatisticsFile, StatisticsWriter  # noqa: E402
from ivector.gmm.diagonal import DiagonalGMM  # noqa: E402
from ivector.gmm.full import FullGMM  # noqa: E402
from ivector.statistics import baum_welch  # noqa: E402
from ivector.total_variability.model import TotalVariability  # noqa: E402

FRAMES_PER_HOUR = 360_000
PER_BLOCK = 64  # utterances of a block of statistics, some 50,000 frames
BLOCKS_PER_FILE = 16
GSELECT, MIN_POST, PRUNE = 10, 0.025, 0.01
ITERATIONS = {"diagonal": 2, "full": 1, "T": 2}
SEED = 1


class Meter:
    """Measures stages: processor time without the generator's, wall-clock time, peak memory."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as stage `name`."""
        reset_peak()
        cpu, wall = time.process_time(), time.perf_counter()
        drawn = frame_world.spent["seconds"]
        yield
        drawn = frame_world.spent["seconds"] - drawn
        self.rows[name] = {
            "cpu": time.process_time() - cpu - drawn,
            "wall": time.perf_counter() - wall,
            "drawing": drawn,
            "peak": peak(),
        }
        print(f"    {name}: {self.rows[name]}", file=sys.stderr, flush=True)


def reset_peak() -> None:
    """Let the system count this process's peak memory anew, where it can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Peak resident memory in MiB, since the last reset where there is one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def sgemm_rate() -> float:
    """Single-precision flops per second of a 1024³ product, best of five."""
    a = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    times = []
    for _ in range(5):
        start = time.process_time()
        a @ a
        times.append(time.process_time() - start)
    return 2 * 1024**3 / min(times)


def run(hours: float, components: int, rank: int, folder: Path) -> dict:
    """All stages on so many hours; the measurements."""
    world, source = frame_world.make_world(components)
    total, count = 0, 0
    while total < hours * FRAMES_PER_HOUR:
        total += world.n_frames(SEED, count)
        count += 1
    shards = [
        frame_world.WorldShard(world, SEED, i, min(i + PER_BLOCK, count))
        for i in range(0, count, PER_BLOCK)
    ]
    shards[0]()  # compiled outside of the clock
    meter = Meter()
    with meter.stage("UBM, diagonal"):
        diagonal = DiagonalGMM(components, n_iter=ITERATIONS["diagonal"], random_state=0)
        diagonal.fit(shards)
    with meter.stage("UBM, full"):
        ubm = FullGMM(init=diagonal, num_gselect=GSELECT, n_iter=ITERATIONS["full"]).fit(shards)
    with meter.stage("statistics"):
        files = [
            write_group(folder / f"{i}.npz", ubm, shards[i : i + BLOCKS_PER_FILE])
            for i in range(0, len(shards), BLOCKS_PER_FILE)
        ]
    with meter.stage("T"):
        model = TotalVariability(rank, n_iter=ITERATIONS["T"], init="random", random_state=0)
        model.fit(files, ubm=ubm)
    with meter.stage("i-vectors"), ArkWriter(folder / "ivectors") as writer:
        for shard in shards:
            stats = baum_welch(ubm, shard.utterances(), GSELECT, MIN_POST)
            for i, vector in enumerate(model.transform(stats), shard.first):
                writer.write(f"u{i:08}", vector)
    size = sum(Path(file.path).stat().st_size for file in files)
    return {
        "hours": hours, "frames": total, "utterances": count, "world": source,
        "stages": meter.rows, "statistics_bytes": size, "objective": model.objective_,
        "sgemm": sgemm_rate(),
    }  # fmt: skip


def write_group(path: Path, ubm: FullGMM, shards: list) -> StatisticsFile:
    """Statistics of some shards in one file."""
    with StatisticsWriter(path, "float16", PRUNE) as writer:
        for shard in shards:
            writer.write(baum_welch(ubm, shard.utterances(), GSELECT, MIN_POST, second_order=True))
    return StatisticsFile(path)


def measure(hours: float, components: int, rank: int) -> dict:
    """Run one size in a process of its own."""
    command = [sys.executable, __file__, "--components", str(components), "--rank", str(rank)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--hours", str(hours), "--one", folder], stdout=subprocess.PIPE, check=True
        )
    return json.loads(done.stdout)


def table(results: list[dict]) -> None:
    """Print the measurements side by side."""
    first = results[0]
    for name in first["stages"]:
        for result in results:
            row = result["stages"][name]
            rate = result["frames"] / row["cpu"]
            linear = (
                row["cpu"] / result["frames"] / (first["stages"][name]["cpu"] / first["frames"])
            )
            print(
                f"{name:14s} {result['hours']:5g} h {row['cpu']:9.1f} s {row['drawing']:8.1f} "
                f"{row['wall']:9.1f} {rate / 100:10.0f} x {rate:11,.0f} {linear:7.2f} "
                f"{row['peak']:8.0f}"
            )
    print()
    for result in results:
        stages = list(result["stages"].values())
        drawing, wall = (sum(row[key] for row in stages) for key in ("drawing", "wall"))
        cpu = sum(row["cpu"] for row in stages)
        whole = sum(row["cpu"] for row in first["stages"].values()) / first["frames"]
        print(
            f"{'all stages':14s} {result['hours']:5g} h {cpu:9.1f} s "
            f"{drawing:8.1f} {wall:9.1f} "
            f"{result['frames'] / cpu / 100:10.0f} x {result['frames'] / cpu:11,.0f} "
            f"{cpu / result['frames'] / whole:7.2f} {max(row['peak'] for row in stages):8.0f}"
            f"   statistics {result['statistics_bytes'] / 2**20 / result['hours']:.1f} MiB an hour,"
            f" sgemm {result['sgemm'] / 1e9:.0f} GFLOP/s"
        )


def main() -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 10, 100])
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--rank", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the measurements there, too")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        print(json.dumps(run(args.hours[0], args.components, args.rank, args.one)))
        return
    results = [measure(hours, args.components, args.rank) for hours in args.hours]
    print(
        f"{args.components} components, 60 features, rank {args.rank}, {GSELECT} selected; "
        f"iterations {ITERATIONS}; frames of {results[0]['world']}\n"
    )
    print(
        f"{'':14s} {'':7s} {'processor':>11s} {'drawing':>8s} {'wall':>9s} {'real time':>12s} "
        f"{'frames/s':>11s} {'linear':>7s} {'peak MiB':>8s}"
    )
    table(results)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
