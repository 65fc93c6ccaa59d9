"""Stages that were stopped go on where they were; what would be run is said beforehand."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from step_cases import FEATURES, ROOT, run_step, run_steps

from recipes.engine import marks
from recipes.engine.marks import PLANNED, RESUME
from recipes.engine.stage import stage
from recipes.steps import features, ivectors, total_variability

STEPS = {
    "features": FEATURES,
    "ubm": "--num-components 4 --num-iters-diag 2 --num-iters-full 1",
    "total_variability": "--rank 4 --num-iters 2",
    "ivectors": "",
    "backend": "",
    "scores": "",
}
UNLIKE = {"log", "done.json", "options.json"}


run = partial(run_step, STEPS)


def results(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in UNLIKE and path.suffix != ".scp"  # they name their folder
    }


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "shard_size", lambda *_: 2)
        patch.setattr(ivectors, "shard_size", lambda *_: 2)
        patch.setattr(total_variability, "UTTERANCES_PER_SHARD", 2)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_steps(STEPS, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "x", symlinks=True)
    return tmp_path / "x"


class Stop(BaseException):
    """Not an error that anything handles."""


@pytest.mark.parametrize(
    ("step", "owner", "method", "folder"),
    [
        ("features", features.Extractor, "_extract", "features"),
        ("total_variability", total_variability.Accumulator, "__call__", "ivector/tv"),
        ("ivectors", ivectors.Extract, "__call__", "ivector/ivectors"),
    ],
)
def test_finished_shards_are_not_computed_again(
    finished, copy, monkeypatch, step, owner, method, folder
):
    shutil.rmtree(copy / "exp" / folder)
    real, calls = getattr(owner, method), []

    def limited(*arguments):
        calls.append(arguments)
        if len(calls) % 3 == 0:
            raise Stop
        return real(*arguments)

    monkeypatch.setattr(owner, method, limited)
    stops = 0
    for _ in range(50):
        try:
            assert run(copy, step) == 0
            break
        except Stop:
            stops += 1
            assert not (copy / "exp" / folder / "done.json").exists()
    assert stops >= 2
    # Every shard was computed once, but for those that were stopped.
    shards = {"features": 6, "total_variability": 6, "ivectors": 12}[step]
    assert len(calls) - stops == shards
    assert results(copy / "exp" / folder) == results(finished / "exp" / folder)
    assert not [p for p in (copy / "exp").rglob(".*") if p.name != ".keep"]


def test_an_unfinished_run_of_other_options_or_sources_is_cleared(tmp_path, monkeypatch):
    folder = tmp_path / "stage"

    def stop(options):
        with pytest.raises(Stop), stage(folder, options) as work:
            found = [path.name for path in sorted((work / RESUME).glob("*"))]
            (work / RESUME).mkdir(exist_ok=True)
            (work / RESUME / "shard").write_text("whole")
            (work / RESUME / ".shard.tmp123-0f").write_text("hal")
            raise Stop
        return found

    assert stop({"n": 1}) == []
    assert stop({"n": 1}) == ["shard"]
    assert stop({"n": 2}) == []
    assert stop({"n": 2}) == ["shard"]
    monkeypatch.setattr(marks, "_sources", lambda: "edited")
    assert stop({"n": 2}) == []
    with stage(folder, {"n": 2}) as work:
        (work / "result").write_text("good")
    mark = json.loads((folder / "done.json").read_text())
    assert mark["files"].keys() == {"options.json", "result"}
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
    assert not (folder / RESUME).exists()


def test_what_changed_is_said(finished, copy, caplog):
    caplog.set_level("INFO", "recipe")
    assert run(copy, "scores", "--enrolment", "average") == 0
    assert 'runs: option enrolment: "book" -> "average"' in caplog.text
    caplog.clear()
    assert run(copy, "scores", "--enrolment", "average") == 0
    assert "done already" in caplog.text and "runs:" not in caplog.text
    with stage(copy / "exp/features", {}, {"recordings": "others"}, version=2) as work:
        assert work is not None
    assert "recordings changed" in caplog.text and "code: " in caplog.text
    assert "option mfcc.sample_frequency: 8000 -> none" in caplog.text


@pytest.fixture
def planned(monkeypatch):
    """Dry runs note for each other, within this process, what they have found."""
    monkeypatch.setenv(PLANNED, "")
    monkeypatch.setattr("recipes.engine.stage._dry", False)


def test_dry_run_follows_an_option_through_the_stages(copy, planned, capsys):
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    for name in STEPS:
        option = ("--rank", "3") * (name == "total_variability")
        assert run(copy, name, *option, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    exp = copy / "exp"
    assert f"leave {exp}/features" in lines
    assert f"leave {exp}/ivector/ubm/fold0" in lines
    assert f"run   {exp}/ivector/tv/fold1  # option rank: 4 -> 3" in lines
    assert f"run   {exp}/ivector/ivectors/fold1  # follows stage 3" in lines
    assert f"run   {exp}/ivector/scores/fold0  # follows stage 4; follows stage 5" in lines
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before


def test_dry_run_tells_what_is_gone(copy, planned, capsys):
    (copy / "exp/ivector/ivectors/fold0/ivectors.npz").unlink()
    shutil.rmtree(copy / "exp/ivector/backend/fold1")
    for name in ("ivectors", "backend", "scores"):
        assert run(copy, name, "--dry-run") == 0
    found = capsys.readouterr().out
    assert "ivectors/fold0  # ivectors.npz: is gone since the stage finished" in found
    assert "backend/fold1  # not there yet" in found
    assert "backend/fold0  # follows stage 4" in found
    assert "scores/fold1  # follows stage 5" in found


@pytest.mark.skipif(os.name != "posix", reason="runs a shell script")
def test_dry_run_of_the_recipe_does_nothing(tmp_path):
    command = ["bash", str(ROOT / "recipes/run.sh"), "--dry-run", "--data", str(tmp_path / "data")]
    command += ["--exp", str(tmp_path / "exp"), "--system", "ivector", "--stop-stage", "2"]
    done = subprocess.run(
        [*command, "--nj", "1"], env={**os.environ, "PYTHON": sys.executable},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"run   {tmp_path}/data  # not there yet",
        f"run   {tmp_path}/exp/ivector/(features)  # follows {tmp_path}/data",
        f"run   {tmp_path}/exp/ivector/(ubm)  # follows {tmp_path}/data",
    ]
    assert not list(tmp_path.iterdir())
