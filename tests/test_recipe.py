"""The whole recipe on a small synthetic corpus: results, resumption, jobs, users' mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "--num-components 8 --rank 8 --lda-dim 4 --num-iters-diag 5 --num-iters-full 2 "
    "--num-iters-tv 2 --mfcc-config recipes/conf/mfcc_8k.conf --bootstrap 50"
).split()


def recipe(folder: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run ``run.sh`` with its data and experiment in `folder`."""
    command = [
        "bash", str(ROOT / "recipes/run.sh"), "--data", str(folder / "data"),
        "--exp", str(folder / "exp"), "--prepare-options=--speakers 8 --sessions 4",
        *SMALL, *options,
    ]  # fmt: skip
    python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def outputs(folder: Path, system: str = "ivector") -> dict[str, bytes]:
    """Bytes of every model, vector and score file of a system."""
    files = sorted((folder / "exp" / system).rglob("*"))
    names = ("final.npz", "final.ie", "ivectors.npz", "plda", "scores", "trials")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files
            if f.is_file() and f.name in names}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a recipe")  # with a space
    done = recipe(folder, "--nj", "1")
    return folder, done


def test_recipe_prints_error_rates_and_draws_them(finished):
    folder, done = finished
    assert "| ivector | all" in done.stdout
    assert "stage 7: not installed yet" in done.stdout
    report = folder / "exp/report"
    assert (report / "det.png").read_bytes()[:4] == b"\x89PNG"
    rows = json.loads((report / "results.json").read_text())
    pooled = next(row for row in rows if row["part"] == "all")
    assert 0 < pooled["eer"] < 0.5
    assert pooled["eer_interval"][0] <= pooled["eer"] <= pooled["eer_interval"][1]
    assert (folder / "exp/features/log").stat().st_size > 0
    options = json.loads((folder / "exp/ivector/ubm/fold0/options.json").read_text())
    assert options["options"]["num_components"] == 8 and "numpy" in options["versions"]


def test_finished_stages_are_left_alone(finished):
    folder, _ = finished
    before = {f: f.stat().st_mtime_ns for f in (folder / "exp/ivector").rglob("*") if f.is_file()}
    done = recipe(folder)
    assert done.stderr.count("done already") == 11
    assert before == {f: f.stat().st_mtime_ns for f in before}


def test_stage_3_repeats_with_the_same_bytes(finished):
    folder, _ = finished
    before = outputs(folder)
    done = recipe(folder, "--stage", "3", "--nj", "2")
    assert "total variability" in done.stderr and "UBM" not in done.stderr
    assert outputs(folder) == before


def test_jobs_do_not_change_a_byte(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder / "data", tmp_path / "data", symlinks=True)
    recipe(tmp_path, "--nj", "2")
    assert outputs(tmp_path) == outputs(folder)


def test_killed_run_continues_to_the_same_bytes(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder / "data", tmp_path / "data", symlinks=True)
    command = [
        "bash", str(ROOT / "recipes/run.sh"), "--data", str(tmp_path / "data"),
        "--exp", str(tmp_path / "exp"), "--prepare-options=--speakers 8 --sessions 4",
        "--nj", "1", *SMALL,
    ]  # fmt: skip
    python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
    for target in ("features", "ivector/ubm/fold1", "ivector/tv/fold0", "ivector/scores/fold0"):
        work = (tmp_path / "exp" / target).with_name(f".{Path(target).name}.partial")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, **quiet
        )
        while process.poll() is None and not work.exists():
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    recipe(tmp_path)
    assert outputs(tmp_path) == outputs(folder)


def test_gmm_ubm_system_stands_beside(finished):
    folder, _ = finished
    before = outputs(folder)
    done = recipe(folder, "--system", "gmm-ubm", "--score-norm", "s")
    assert "| gmm-ubm | all" in done.stdout and "| ivector | all" in done.stdout
    assert outputs(folder) == before


def test_mistakes_are_told_in_one_line(finished, tmp_path):
    folder, _ = finished
    done = recipe(folder, "--rank", "many", check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    done = recipe(folder, "--no-such-option", "1", check=False)
    assert done.returncode == 2 and "unknown option --no-such-option" in done.stderr
    for wrong in (("--stage", "x"), ("--stop-stage", "11"), ("--score-norm", "q")):
        done = recipe(folder, *wrong, check=False)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, wrong
    done = recipe(tmp_path, "--stage", "3", check=False)
    assert done.returncode == 1 and "run with --stage 1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def broken_corpus(tmp_path):
    """Six speakers with four good recordings each, and one of every kind of bad one."""
    corpus = tmp_path / "my recordings"
    rng = np.random.default_rng(0)
    for speaker in range(6):
        for utterance in range(4):
            noise = rng.normal(size=24000).cumsum()
            noise = np.convolve(noise, rng.normal(size=20), "same")
            noise *= 0.3 / abs(noise).max() * (1 + np.sin(np.arange(24000) / 900))
            path = corpus / f"spk{speaker}" / f"u{speaker}{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise, 8000)
    good = (corpus / "spk0/u00.wav").read_bytes()
    (corpus / "spk0/empty.wav").write_bytes(b"")
    (corpus / "spk0/cut.wav").write_bytes(good[: len(good) // 3])
    (corpus / "spk1/text.wav").write_text("not audio")
    soundfile.write(corpus / "spk1/zero.wav", np.zeros(24000), 8000)
    soundfile.write(corpus / "spk2/nan.wav", np.full(24000, np.nan), 8000, subtype="FLOAT")
    soundfile.write(corpus / "spk2/stereo.wav", rng.normal(size=(24000, 2)) * 0.1, 8000)
    soundfile.write(corpus / "spk3/short.wav", rng.normal(size=400) * 0.1, 8000)
    soundfile.write(corpus / "spk4/clipped.wav", np.sign(rng.normal(size=24000)), 8000)
    soundfile.write(corpus / "spk5/rate.wav", rng.normal(size=48000) * 0.1, 16000)
    return corpus


def test_bad_recordings_are_skipped_and_counted(broken_corpus, tmp_path):
    options = ("--corpus", "folder", "--corpus-dir", str(broken_corpus), "--prepare-options=")
    done = recipe(tmp_path, *options)
    told = done.stdout + done.stderr
    assert "Traceback" not in told and "| ivector | all" in done.stdout
    skipped = (tmp_path / "exp/features/skipped").read_text()
    for name in ("cut", "zero", "nan", "stereo"):
        assert name in skipped or name in told
    assert "clipped" in (tmp_path / "exp/features/remarks").read_text()
    strict = recipe(tmp_path / "strict", *options, "--strict", "true", check=False)
    assert strict.returncode == 1 and "Traceback" not in strict.stderr
