"""Stages that were stopped go on where they were; what would be run is said beforehand."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from step_cases import CORPUS, ROOT, SMALL, results, run_stage

from ivector.base.errors import DataError
from recipes.engine import marks
from recipes.engine.marks import RESUME
from recipes.engine.stage import stage
from recipes.steps import features, ivectors, total_variability

OPTIONS = (*CORPUS, *SMALL, "--system", "ivector", "--dev-folds", "0", "--nj", "1")


def run(folder: Path, number: int | str, *options: str) -> int:
    """A stage of the i-vector system, or the plan of all; its exit status."""
    return run_stage(folder, number, *OPTIONS, *options)


class Stop(BaseException):
    """Not an error that anything handles."""


@pytest.mark.parametrize(
    ("number", "owner", "method", "folder", "shards"),
    [
        (1, features.Extractor, "_extract", "features", 16),
        (3, total_variability.Accumulator, "__call__", "ivector/tv", 2 * 8),
        (4, ivectors.Extract, "__call__", "ivector/ivectors", 2 * 16),
    ],
)
def test_finished_shards_are_not_computed_again(
    copy, monkeypatch, number, owner, method, folder, shards
):
    """Of 32 utterances, 16 of them of a fold's training, two to a shard."""
    monkeypatch.setattr(features, "shard_size", lambda *_: 2)
    monkeypatch.setattr(ivectors, "shard_size", lambda *_: 2)
    monkeypatch.setattr(total_variability, "UTTERANCES_PER_SHARD", 2)
    shutil.rmtree(copy / "exp" / folder)
    assert run(copy, number) == 0
    expected = results(copy / "exp" / folder)
    shutil.rmtree(copy / "exp" / folder)
    real, calls = getattr(owner, method), []

    def limited(*arguments):
        calls.append(arguments)
        if len(calls) % 5 == 0:
            raise Stop
        return real(*arguments)

    monkeypatch.setattr(owner, method, limited)
    stops = 0
    for _ in range(50):
        try:
            assert run(copy, number) == 0
            break
        except Stop:
            stops += 1
            assert not (copy / "exp" / folder / "done.json").exists()
    assert stops >= 2
    # Every shard was computed once, but for those that were stopped.
    assert len(calls) - stops == shards
    assert results(copy / "exp" / folder) == expected
    assert not [p for p in (copy / "exp").rglob(".*") if p.name != ".keep"]


def test_an_unfinished_run_of_other_options_or_sources_is_cleared(tmp_path, monkeypatch):
    folder = tmp_path / "stage"

    def stop(options, code=""):
        with pytest.raises(Stop), stage(folder, options, code=code) as work:
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
    assert stop({"n": 2}, "other") == []
    assert stop({"n": 2}) == []
    monkeypatch.setattr(marks, "sources", lambda: "edited")
    assert stop({"n": 2}) == []
    with stage(folder, {"n": 2}) as work:
        (work / "result").write_text("good")
    mark = json.loads((folder / "done.json").read_text())
    assert mark["files"].keys() == {"options.json", "result"}
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
    assert not (folder / RESUME).exists()


def test_sources_of_an_unfinished_run_are_those_of_all_rooms(monkeypatch):
    seen = []
    monkeypatch.setattr(marks, "digest", lambda *paths: seen.extend(paths))
    marks.sources.__wrapped__()
    names = {path.relative_to(ROOT).as_posix() for path in seen}
    assert {"ivector/gmm/em.py", "plda/models/em.py", "recipes/steps/ubm.py"} <= names
    assert len(names) > 150


def test_failed_stage_leaves_the_former_results_alone(tmp_path):
    folder = tmp_path / "stage"
    with stage(folder, {"n": 1}) as work:
        (work / "result").write_text("good")
    with contextlib.suppress(ZeroDivisionError), stage(folder, {"n": 2}) as work:
        (work / "result").write_text("half")
        raise ZeroDivisionError
    assert (folder / "result").read_text() == "good"
    with stage(folder, {"n": 2}) as work:  # the work is there to go on from
        assert work is not None and (work / "result").read_text() == "half"
        (work / "result").write_text("better")
    assert (folder / "result").read_text() == "better"
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_run_killed_between_two_renames_keeps_the_former_results(tmp_path):
    folder = tmp_path / "stage"
    with stage(folder, {}) as work:
        (work / "result").write_text("good")
    folder.rename(tmp_path / ".stage.old")
    (tmp_path / ".stage.partial").mkdir()
    with stage(folder, {}) as work:
        assert work is None
    assert (folder / "result").read_text() == "good"


def test_what_a_run_left_that_was_killed_at_its_very_end_is_put_right(copy, capsys):
    """Between its two renames, and behind them; the same command goes on and makes nothing anew."""
    home = copy / "exp/ivector/ubm"
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    (home / "fold0").rename(home / ".fold0.old")
    (home / ".fold1.partial/abc").mkdir(parents=True)
    (home / ".fold1.partial/abc/log").touch()
    (home / "fold1" / RESUME).mkdir()
    assert run(copy, "plan", "--stop-stage", "2") == 0
    assert f"leave {home}/fold0" in capsys.readouterr().out
    assert (home / ".fold0.old").exists()
    assert run(copy, 2) == run(copy, 3) == 0
    assert "UBM: done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")}.keys() == before.keys()
    assert all(path.stat().st_mtime_ns == before[path] for path in home.rglob("*.npz"))


def test_two_runs_at_once_do_not_mix(tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import sys, time; from pathlib import Path; from recipes.engine.stage import stage\n"
        "with stage(Path(sys.argv[1]), {}):\n    print(flush=True); time.sleep(60)"
    )
    folder = tmp_path / "stage"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline()
    with pytest.raises(DataError, match="another run is at work there"), stage(folder, {}):
        pass
    assert (tmp_path / ".stage.partial").exists()
    other.kill()
    other.communicate()
    with stage(folder, {}) as work:
        (work / "result").write_text("good")
    assert json.loads((folder / "done.json").read_text())["files"].keys() == {
        "options.json", "result"
    }  # fmt: skip


def test_what_changed_is_said(copy, caplog):
    caplog.set_level("INFO", "recipe")
    assert run(copy, 6, "--enrolment", "average") == 0
    assert 'runs: option enrolment: "book" -> "average"' in caplog.text
    caplog.clear()
    assert run(copy, 6, "--enrolment", "average") == 0
    assert "runs:" not in caplog.text
    with stage(copy / "exp/features", {}, {"recordings": "others"}, code="0") as work:
        assert work is not None
    assert "recordings changed" in caplog.text and "the code of this stage changed" in caplog.text
    assert "option mfcc.sample_frequency: 8000 -> none" in caplog.text


def test_dry_run_follows_an_option_through_the_stages(copy, capsys):
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    assert run(copy, "plan", "--rank", "7") == 0
    lines = capsys.readouterr().out.splitlines()
    exp = copy / "exp"
    assert lines[0] == f"leave {copy}/data"
    assert f"leave {exp}/features" in lines
    assert f"leave {exp}/ivector/ubm/fold0" in lines
    assert f"run   {exp}/ivector/tv/fold1  # option rank: 8 -> 7" in lines
    assert f"run   {exp}/ivector/ivectors/fold1  # follows stage 3" in lines
    assert f"run   {exp}/ivector/scores/fold0  # follows stage 4; follows stage 5" in lines
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before


def test_dry_run_tells_what_is_gone(copy, capsys):
    (copy / "exp/ivector/ivectors/fold0/ivectors.npz").unlink()
    shutil.rmtree(copy / "exp/ivector/backend/fold1")
    assert run(copy, "plan") == 0
    found = capsys.readouterr().out
    assert "ivectors/fold0  # ivectors.npz: is gone since the stage finished" in found
    assert "backend/fold1  # not there yet" in found
    assert "backend/fold0  # follows stage 4" in found
    assert "scores/fold1  # follows stage 5" in found
    assert f"leave {copy}/exp/ivector/ivectors/fold1" in found


def test_dry_run_tells_what_a_stage_that_was_named_repeats(copy, capsys):
    assert run(copy, "plan", "--stage", "5", "--stop-stage", "6") == 0
    lines = capsys.readouterr().out.splitlines()
    names = [f"{copy}/exp/ivector/{kind}/fold{i}" for kind in ("backend", "scores") for i in (0, 1)]
    assert [line.split()[:2] for line in lines] == [["run", name] for name in names]
    assert lines[0].endswith("# asked for")
    assert run(copy, "plan", "--stage", "5", "--stop-stage", "6", "--resume") == 0
    assert capsys.readouterr().out.splitlines() == [f"leave {name}" for name in names]


def test_a_lost_recording_makes_the_corpus_again(finished, copy, capsys):
    """The copy's lists name the recordings of the original."""
    (recording, *_) = sorted((finished / "data/audio").rglob("*.flac"))
    hidden = recording.rename(recording.with_suffix(".hidden"))
    try:
        assert run(copy, "plan", "--stop-stage", "0") == 0
    finally:
        hidden.rename(recording)
    assert capsys.readouterr().out == f"run   {copy}/data  # {recording.name}: is gone\n"
    assert run(copy, "plan", "--stop-stage", "0") == 0
    assert capsys.readouterr().out == f"leave {copy}/data\n"


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
        f"run   {tmp_path}/exp/development/data  # not there yet; follows stage 0",
        f"run   {tmp_path}/exp/features  # not there yet; follows stage 0",
        f"run   {tmp_path}/exp/domain  # not there yet; follows stage 0",
        f"run   {tmp_path}/exp/ivector/(ubm)  # not there yet; follows stage 0",
    ]
    assert not list(tmp_path.iterdir())
