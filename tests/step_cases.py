"""A small experiment, run step by step in the test's own process."""

from collections.abc import Mapping
from pathlib import Path

from recipes import prepare
from recipes.steps.__main__ import main as step_main

ROOT = Path(__file__).resolve().parents[1]
FEATURES = (
    f"--mfcc-config {ROOT}/recipes/conf/mfcc_8k.conf --vad-config {ROOT}/recipes/conf/vad.conf"
)


def run_step(steps: Mapping[str, str], folder: Path, name: str, *options: str) -> int:
    """Run one step with its usual options and those given."""
    given = ["--data", str(folder / "data"), "--exp", str(folder / "exp")]
    return step_main([name, *given, *steps[name].split(), *options])


def run_steps(steps: Mapping[str, str], folder: Path) -> Path:
    """Make a synthetic corpus and run all steps on it."""
    corpus = "synthetic --speakers 6 --sessions 2 --out".split()
    assert prepare.cli([*corpus, str(folder / "data")]) == 0
    for name in steps:
        assert run_step(steps, folder, name) == 0
    return folder
