"""Inputs that reach new lines of the readers: ``python tests/fuzz/guided.py kaldi --minutes 30``.

Needs atheris (``pip install atheris``; Linux, macOS), which sees what lines each input reaches and
goes on from those that reach new ones. Targets: Kaldi's files, ``.npz``, and tables of scores and
trials. Only a UserError may come out of a reader, within 2 s of processor time and 300 MiB. What
else comes is told once for each place it comes from and kept in ``--keep``; minimised and put into
``tests/fuzz/found`` as ``FILE~NAME`` the tests replay it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

FOUND = HERE / "found"
TARGETS = ("kaldi", "npz", "scores")
LONGEST_S, MOST_MB = 2.0, 300.0
LARGEST = 1 << 16  # bytes of an input


def uses(target: str) -> list[Any]:
    """What reads the files of a target, the files being in this folder."""
    from fuzz.seeds import Use, uses

    if target != "scores":
        return [use for use in uses() if use.kind == target]
    from fuzz_cases import FORMS

    from fusion.formats.files import read_scores, read_trials
    from fusion.formats.linting import read
    from fusion.formats.measures import read_columns
    from fusion.formats.speakers import read_map

    found = [
        Use("scores", "text", f"{name}.{what}", lambda r=reader, f=f"{name}.{what}": r(f))
        for name in FORMS
        for what, readers in (("scores", (read_scores, read)), ("trials", (read_trials, read)))
        for reader in readers
    ]
    found.append(Use("scores", "text", "utt2spk", lambda: read_map("utt2spk")))
    return [*found, Use("scores", "text", "table.csv", lambda: read_columns("table.csv"))]


def write_files() -> None:
    """Write whole files of every kind into this folder."""
    from fuzz_cases import FORMS, pairs

    from fuzz import seeds

    seeds.write_world()
    for name, form in FORMS.items():
        for what, rows in zip(("scores", "trials"), pairs(random.Random(0))):
            Path(f"{name}.{what}").write_bytes(form(rows))


class Target:
    """What is done with an input: its first byte chooses the reader, the others are the file."""

    def __init__(self, name: str, keep: Path | None = None):
        self.uses = uses(name)
        self.whole = {use.file: Path(use.file).read_bytes() for use in self.uses}
        self.keep, self.places = keep, set()  # type: ignore[var-annotated]

    def read_whole(self) -> None:
        """Whole files are accepted; kernels are compiled before anything is timed."""
        for use in self.uses:
            use.call()

    def __call__(self, content: bytes) -> None:
        """Read an input, and keep it if something is wrong that was not seen before."""
        use, data = self.uses[content[0] % len(self.uses) if content else 0], content[1:]
        wrong, place = self.fault(use, data)
        if not wrong or place in self.places:
            return
        self.places.add(place)
        print(f"FOUND {use.name}: {wrong}", flush=True)
        if self.keep:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / f"{use.file}~{len(self.places)}").write_bytes(data)

    def fault(self, use: Any, data: bytes) -> tuple[str, str]:
        """What is wrong with how a file is read, and where it comes from; empty if nothing."""
        from ivector.base.errors import UserError

        Path(use.file).write_bytes(data)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, start = _memory("VmRSS"), time.process_time()
        try:
            use.call()
        except UserError:
            pass
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__}, {Path(last.filename).name}:{last.lineno}"
            return f"{place}: {str(error)[:200]}", place
        finally:
            Path(use.file).write_bytes(self.whole[use.file])
        spent, taken = time.process_time() - start, _memory("VmHWM") - before
        if spent > LONGEST_S:
            return f"takes {spent:.1f} s", f"time of {use.name}"
        return (f"takes {taken:.0f} MiB", f"memory of {use.name}") if taken > MOST_MB else ("", "")

    def mutate(self, content: bytes, most: int, seed: int) -> bytes:
        """Change an input by its format's structure, or as atheris does."""
        import atheris

        from fuzz.mutators import mutate

        rng = random.Random(seed)
        if content and rng.random() < 0.5:
            use = self.uses[content[0] % len(self.uses)]
            with contextlib.suppress(Exception):  # of an input that has no structure any more
                changed = content[:1] + mutate(rng, content[1:], use.form)
                if len(changed) <= most:
                    return changed
        return atheris.Mutate(content, most)


def _memory(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def compiled() -> list[str]:
    """Modules with kernels, whose code Numba has to see as it is."""
    root = HERE.parents[1]
    files = [f for p in ("ivector", "plda", "fusion", "dnn") for f in (root / p).rglob("*.py")]
    found = [f.relative_to(root) for f in files if "njit" in f.read_text(encoding="utf-8")]
    return [".".join(path.with_suffix("").parts) for path in found]


@contextlib.contextmanager
def world() -> Any:
    """A temporary folder with whole files, as the folder that is worked in."""
    before = Path.cwd()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(name)
        try:
            write_files()
            yield
        finally:
            os.chdir(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1, help="of atheris; 0 takes the time")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz.guided")
    given = parser.parse_args()
    import atheris

    logging.getLogger().addHandler(logging.NullHandler())
    given.keep.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with atheris.instrument_imports(["ivector", "plda", "fusion"], compiled()):
            stack.enter_context(world())
            target = Target(given.target, given.keep.resolve() / given.target)
            target.read_whole()
        corpus = Path("corpus")
        corpus.mkdir()
        for number, use in enumerate(target.uses):
            data = target.whole[use.file]
            (corpus / f"{number}").write_bytes(bytes([number]) + data)
        words = [f"-max_total_time={60 * given.minutes:.0f}", f"-max_len={LARGEST}",
                 f"-seed={given.seed}", "-timeout=60", "-rss_limit_mb=4096",
                 "-print_final_stats=1", f"-artifact_prefix={given.keep.resolve()}/"]  # fmt: skip
        atheris.Setup([sys.argv[0], *words, "corpus"], target, custom_mutator=target.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
