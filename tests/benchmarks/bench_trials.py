"""Peak memory and time of the commands of `fusion` on very many trials.

    python tests/benchmarks/bench_trials.py [--trials 1e7] [--commands NAME...] [--folder FOLDER]

Two systems' scores of a generated list: 1,251 speakers with 4 models and 32 test utterances each,
every model against its own speaker's utterances and as many others' as it takes. The first system
scored the list from top to bottom, the second in another order, as from parallel jobs. Options are
the commands' own defaults; each runs by itself, its peak is that of its process and those it waits
for. Of 10⁸ trials only the first system is made, 6 GB of files, for ``evaluate``: give ``--commands
evaluate "evaluate --bootstrap 0"``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench_memory import peak

# Nothing large may be imported here: a child's peak counts from what its parent filled.

COMPILED = 400_000  # trials from which all kernels are used
SPEAKERS, MODELS, UTTERANCES = 1251, 4, 32  # of each speaker
COMMANDS = {
    "lint": "lint {a} {b} {trials}",
    "evaluate": "evaluate {a} {trials}",
    "evaluate --bootstrap 0": "evaluate {a} {trials} --bootstrap 0",
    "evaluate, other order": "evaluate {b} {trials}",
    "calibrate": "calibrate {a} {trials} --model {out}.json --out {out}",
    "calibrate, other order": "calibrate {b} {trials} --model {out}.json --out {out}",
    "fuse": "fuse {a} {b} {trials} --model {out}.json --out {out}",
    "fuse --apply": "fuse {a} {b} {trials} --apply {a} {b} --out {out}",
    "fuse --apply-trials": "fuse {a} {b} {trials} --apply {a} {b} --apply-trials {trials} "
    "--out {out}",
    "compare": "compare {a} {b} --trials {trials} --json {out}.json",
    "report": "report {a} {b} {trials} --out {out}.html",
}  # fmt: skip
MEASURED_ON_ONE = ("evaluate", "evaluate --bootstrap 0", "calibrate")


def write_files(folder: Path, n_trials: int, both: bool) -> None:
    """Write ``trials``, ``a.scores`` and, if `both`, ``b.scores`` of about so many trials."""
    import numpy as np

    n_models, n_tests = SPEAKERS * MODELS, SPEAKERS * UTTERANCES
    models = [f"id{10001 + m // MODELS}-{m % MODELS}" for m in range(n_models)]
    tests = [f"id{10001 + t // UTTERANCES}/{t % UTTERANCES:05}" for t in range(n_tests)]
    others = n_trials // n_models - UTTERANCES

    def rows(m: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Tests of a model, which of them are its speaker's, and two systems' scores."""
        rng = np.random.default_rng(m)
        speaker = m // MODELS
        rest = rng.choice(n_tests - UTTERANCES, others, replace=False)
        rest += UTTERANCES * (rest >= UTTERANCES * speaker)  # past its speaker's own
        own = np.arange(UTTERANCES * speaker, UTTERANCES * (speaker + 1))
        chosen = np.sort(np.concatenate([own, rest]))
        target = chosen // UTTERANCES == speaker
        common = rng.normal(size=len(chosen)) + np.where(target, 2.5, -2.5)
        return [tests[t] for t in chosen], target, common + rng.normal(size=(2, len(chosen)))

    with open(folder / "trials", "w") as trials, open(folder / "a.scores", "w") as scores:
        for m, model in enumerate(models):
            names, target, (values, _) = rows(m)
            trials.write("".join(f"{model} {t} {int(y)}\n" for t, y in zip(names, target)))
            scores.write("".join(f"{model} {t} {s:.4f}\n" for t, s in zip(names, values.tolist())))
    if both:
        with open(folder / "b.scores", "w") as scores:
            for m in np.random.default_rng(0).permutation(n_models).tolist():
                names, _, (_, values) = rows(m)
                lines = [f"{models[m]} {t} {s:.4f}\n" for t, s in zip(names, values.tolist())]
                scores.write("".join(reversed(lines)))


def measure(folder: Path, n_trials: int, commands: list[str]) -> Iterator[tuple[str, float, float]]:
    """Peak memory (MiB) and seconds of commands, on files that are made unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "trials").exists():
        words = (folder, n_trials, not set(commands) <= set(MEASURED_ON_ONE))
        maker = multiprocessing.get_context("spawn").Process(target=write_files, args=words)
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit("the files could not be made")
    places = {"trials": folder / "trials", "out": folder / "out"}
    places |= {name: folder / f"{name}.scores" for name in "ab"}
    for command in commands:
        words = [part.format(**places) for part in COMMANDS[command].split()]
        yield command, *peak([sys.executable, "-m", "fusion", *words])


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=float, default=1e7)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--folder", type=Path, help="keeps all files; else a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        for _ in measure(folder / "few", COMPILED, args.commands):
            pass  # compiles the kernels, once an installation
        print(f"{'':24s}{'MiB':>8s}{'s':>8s}   {args.trials:.0e} trials", flush=True)
        for command, memory, seconds in measure(folder, int(args.trials), args.commands):
            print(f"{command:24s}{memory:8.0f}{seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
