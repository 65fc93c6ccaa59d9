"""The whole recipe on a small synthetic corpus: results, resumption, jobs, users' mistakes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion.calibration.saving import load_model
from fusion.formats.files import align, read_scores, read_trials

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "--num-components 8 --rank 8 --lda-dim 4 --num-iters-diag 5 --num-iters-full 2 "
    "--num-iters-tv 2 --mfcc-config recipes/conf/mfcc_8k.conf --bootstrap 50 "
    "--system ivector --dev-folds 0"
).split()
ALL = ("--system", "all", "--dev-folds", "2")


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


@pytest.fixture(scope="module")
def fused(finished, tmp_path_factory):
    """All systems, calibrated and fused; the i-vector system is there already."""
    first, _ = finished
    folder = tmp_path_factory.mktemp("fused")
    shutil.copytree(first, folder, symlinks=True, dirs_exist_ok=True)
    return folder, recipe(folder, *ALL)


def test_all_systems_are_calibrated_and_fused(fused, finished):
    folder, done = fused
    assert outputs(folder) == outputs(finished[0])  # others stand beside
    for system in ("ivector", "cosine", "gmm-ubm"):
        assert f"| {system} " in done.stdout
    assert "| fusion " in done.stdout and "to learn the fusion from: it is rough" in done.stderr
    rows = {
        row["system"]: row
        for row in json.loads((folder / "exp/report/report.json").read_text())["systems"]
    }
    assert set(rows) == {"ivector", "cosine", "gmm-ubm", "fusion"}
    assert all(row["llr"] and row["cllr"]["estimate"] > 0 for row in rows.values())
    page = (folder / "exp/report/report.html").read_text()
    assert "<!doctype html>" in page.lower() and "recipes/run.sh" in page


def test_fusion_knows_no_speaker_of_the_trials(fused):
    folder, _ = fused
    utt2spk = dict(line.split() for line in (folder / "data/wav/utt2spk").read_text().splitlines())
    development = sorted((folder / "exp/development/data").glob("fold*"))
    assert len(development) == 4
    for inner in development:
        outer = folder / "data" / inner.name.rpartition("-")[0]
        training = {line.split()[1] for line in (outer / "train.utt2spk").read_text().splitlines()}
        used = {line.split()[1] for line in (inner / "train.utt2spk").read_text().splitlines()}
        tested = {utt2spk[line.split()[1]] for line in (inner / "trials").read_text().splitlines()}
        assert used | tested <= training and not used & tested


def test_llr_are_the_models_of_the_scores(fused):
    folder, _ = fused
    home = folder / "exp/fusion/llr/fold0"
    lists = read_trials(home / "trials")
    systems = ("ivector", "cosine", "gmm-ubm")
    raw = np.column_stack(
        [align(read_scores(folder / f"exp/{s}/scores/fold0/scores"), lists).values for s in systems]
    )
    for column, system in enumerate(systems):
        llr = align(read_scores(home / f"{system}.scores"), lists).values
        model = load_model(home / f"{system}.json")
        np.testing.assert_allclose(llr, model.transform(raw[:, column]), atol=1e-6)
    fusion = load_model(home / "fusion.json")
    assert fusion.names == list(systems) and (fusion.weights_ >= 0).all()
    llr = align(read_scores(home / "fusion.scores"), lists).values
    np.testing.assert_allclose(llr, fusion.transform(raw), atol=1e-6)


def test_llr_older_than_the_scores_are_not_reported(fused, tmp_path):
    folder, _ = fused
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    options = ("--system", "gmm-ubm", "--relevance", "8", "--stage", "6")
    done = recipe(tmp_path, *options, "--stop-stage", "6")
    done = recipe(tmp_path, *options, "--stage", "10")
    assert "scores are newer" in done.stderr and "| fusion" not in done.stdout


def test_xvectors(finished, tmp_path):
    pytest.importorskip("torch")
    folder, _ = finished
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    options = ("--system", "xvector", "--xvector-steps", "5", "--xvector-frames", "60 80")
    done = recipe(tmp_path, *options)
    assert "| xvector | all" in done.stdout and "| ivector | all" in done.stdout
    assert (tmp_path / "exp/xvector/network/fold1/network/config.json").is_file()
    first = outputs(tmp_path, "xvector")
    again = recipe(tmp_path, *options, "--stage", "7", "--nj", "1")
    assert "network/fold0: finished" in again.stderr
    assert outputs(tmp_path, "xvector") == first


def test_one_system_alone_is_calibrated(fused, tmp_path):
    folder, _ = fused
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "exp/fusion")
    done = recipe(tmp_path, *ALL, "--system", "gmm-ubm", "--stage", "9", "--resume", "true")
    assert (tmp_path / "exp/gmm-ubm/llr/fold1/gmm-ubm.scores").is_file()
    assert "| fusion" not in done.stdout and "Cllr" in done.stdout


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
