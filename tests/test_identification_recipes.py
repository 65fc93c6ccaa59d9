"""Recipes of the identification tasks on miniature data, and their users' mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[1]


def recipe(name: str, *options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
    command = ["bash", str(ROOT / "recipes" / f"{name}.sh"), *options]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def test_vggm_runs_from_generated_records_to_accuracy_and_speed(tmp_path):
    exp = tmp_path / "an experiment"
    done = recipe("vggm_identification", "--miniature", "--exp", exp.name, "--epochs", "1",
                  "--width", "0.03", "--stop-stage", "2", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "instances/s" in done.stdout
    results = json.loads((exp / "vgg-m" / "test" / "results.json").read_text())
    assert results["utterances"] == 18 and results["instances_per_s"] > 0
    assert json.loads((exp / "vgg-m" / "speed.json").read_text())["instances_per_s"] > 0


def test_conformer_runs_from_csv_tables_to_the_report(tmp_path):
    done = recipe("conformer_identification", "--exp", str(tmp_path / "exp"), "--steps", "2",
                  "--sweep-steps", "1", "--sweep-batch-sizes", "", "--sweep-widths", "",
                  "--sweep-models", "", "--variant", "csv", "--miniature")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exp" / "conformer" / "test" / "confusion.png").exists()
    lines = (tmp_path / "exp" / "output.csv").read_text().splitlines()
    assert lines[0] == "Id,Category" and len(lines) == 25
    report = (tmp_path / "exp" / "sweep" / "report.md").read_text()
    assert "## Learning rate" in report and report in done.stdout


@pytest.mark.parametrize("name", ["vggm_identification", "conformer_identification"])
def test_mistakes_are_told_before_anything_runs(name):
    for options, words in (
        ((), "give --data-dir"),
        (("--miniature", "--no-such", "1"), "unknown option --no-such"),
        (("--miniature", "--stage", "x"), "--stage takes a whole number"),
        (("--miniature", "--stop-stage", "9"), "--stop-stage is 0 to"),
        (("--miniature", "true", "more"), "unexpected argument 'more'"),
    ):
        done = recipe(name, *options)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Stages: 0 data" in recipe(name, "--help").stdout
