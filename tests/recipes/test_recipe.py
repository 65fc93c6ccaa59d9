"""The whole recipe on a small synthetic corpus: results, resumption, users' mistakes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from step_cases import CORPUS, ROOT, SMALL, places, run_stage, run_stages

from fusion.calibration.saving import load_model
from fusion.formats.files import align, read_scores, read_trials
from recipes.steps.report import ratios

pytestmark = pytest.mark.slow

IVECTOR = ("--system", "ivector", "--dev-folds", "0")
ALL = ("--dev-folds", "2", "--nj", "1")


def script(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run ``run.sh`` for the i-vector system with its data and experiment in `folder`."""
    command = ["bash", str(ROOT / "recipes/run.sh"), *places(folder), *CORPUS, *SMALL, *IVECTOR]
    python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def outputs(folder: Path, system: str = "ivector") -> dict[str, bytes]:
    """Bytes of every model, vector and score file of a system."""
    files = sorted((folder / "exp" / system).rglob("*"))
    names = ("final.npz", "final.ie", "ivectors.npz", "plda", "scores", "trials")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files
            if f.is_file() and f.name in names}  # fmt: skip


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """The i-vector system by the script and two processes; what it said."""
    folder = tmp_path_factory.mktemp("a recipe")  # with a space
    return folder, script(folder, "--nj", "2")


def test_recipe_prints_error_rates_and_draws_them(scripted):
    folder, done = scripted
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


def test_run_sh_shows_two_lines_a_stage_and_warnings(scripted):
    """Nothing else; what it prints on standard output is its results."""
    _, done = scripted
    lines = done.stderr.splitlines()
    assert "WARNING" not in done.stderr and "Warning" not in done.stderr
    assert not any(re.search(r"warning:? *warning", line, re.I) for line in lines)
    stages = [line for line in lines if not line.startswith("warning: ")]
    names = {0: "corpus", 1: "features", 2: "UBM", 3: "total variability", 4: "i-vectors",
             5: "back-end", 6: "scores", 10: "report"}  # fmt: skip
    assert len(stages) == 2 * len(names)
    time = r"\d+ (s|min)"
    for (number, name), first, last in zip(names.items(), stages[::2], stages[1::2]):
        count, beside = (1, "") if number in (0, 1, 10) else (2, ", 2 side by side")
        assert first == f"stage {number:>2}/10  {name}: {count} to make{beside}"
        rest = "" if number == 10 else f"; the rest in about {time}"
        made = 3 if number == 1 else count  # features, and what each fold's trials sound like
        assert re.fullmatch(rf"stage {number:>2}/10  {name}: {time}, {made} made{rest}", last)
    warned = [line for line in lines if line.startswith("warning: ")]
    assert warned and len(set(warned)) == len(warned)
    assert "stage" not in done.stdout.partition("Note")[0]


def test_processes_do_not_change_a_byte(scripted, finished):
    """Nor do development folds and systems beside it, nor the script."""
    folder, _ = scripted
    assert len(outputs(folder)) == 14
    assert outputs(folder) == outputs(finished)


def test_finished_stages_are_left_alone(scripted):
    folder, _ = scripted
    before = {f: f.stat().st_mtime_ns for f in (folder / "exp/ivector").rglob("*") if f.is_file()}
    done = script(folder)
    lines = done.stderr.splitlines()
    assert sum(": done already" in line for line in lines) == 7  # all but the report
    assert before == {f: f.stat().st_mtime_ns for f in before}
    assert "| ivector | all" in done.stdout


def test_stage_3_repeats_with_the_same_bytes(scripted, capsys):
    folder, _ = scripted
    before = outputs(folder)
    again = (*CORPUS, *SMALL, *IVECTOR, "--stage", "3", "--nj", "1")
    run_stages(folder, (3, 4, 5, 6), *again)
    told = capsys.readouterr().err
    for name in ("total variability", "i-vectors", "back-end", "scores"):
        assert f"{name}: 2 to make" in told
    assert outputs(folder) == before


@pytest.fixture
def report(copy, capsys):
    """The report of the copy's systems as it was printed."""
    assert run_stage(copy, 10, *CORPUS, *SMALL, *ALL) == 0
    return capsys.readouterr().out


def test_all_systems_are_calibrated_and_fused(copy, report):
    for system in ("ivector", "cosine", "gmm-ubm"):
        assert f"| {system} " in report
    assert "| fusion " in report and "to learn the fusion from: it is rough" in report
    rows = {
        row["system"]: row
        for row in json.loads((copy / "exp/report/report.json").read_text())["systems"]
    }
    assert set(rows) == {"ivector", "cosine", "gmm-ubm", "fusion"}
    assert all(row["llr"] and row["cllr"]["estimate"] > 0 for row in rows.values())
    page = (copy / "exp/report/report.html").read_text()
    assert "<!doctype html>" in page.lower() and "recipes/run.sh" in page


def test_fusion_knows_no_speaker_of_the_trials(finished):
    folder = finished
    utt2spk = dict(line.split() for line in (folder / "data/wav/utt2spk").read_text().splitlines())
    development = sorted((folder / "exp/development/data").glob("fold*"))
    assert len(development) == 4
    for inner in development:
        outer = folder / "data" / inner.name.rpartition("-")[0]
        training = {line.split()[1] for line in (outer / "train.utt2spk").read_text().splitlines()}
        used = {line.split()[1] for line in (inner / "train.utt2spk").read_text().splitlines()}
        tested = {utt2spk[line.split()[1]] for line in (inner / "trials").read_text().splitlines()}
        assert used | tested <= training and not used & tested


def test_llr_are_the_models_of_the_scores(finished):
    folder = finished
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


def test_llr_older_than_the_scores_are_not_reported(copy, capsys):
    options = (*CORPUS, *SMALL, *ALL, "--relevance", "8")
    run_stages(copy, (6, 10), *options, "--system", "gmm-ubm")
    told = capsys.readouterr()
    assert "scores are newer" in told.err and "| fusion" not in told.out
    assert "| gmm-ubm | all" in told.out


def test_xvectors(copy, capsys):
    pytest.importorskip("torch")
    options = (*CORPUS, *SMALL, "--system", "xvector", "--dev-folds", "0", "--xvector-steps", "5",
               "--xvector-frames", "60 80", "--device", "cpu")  # fmt: skip
    run_stages(copy, (7, 8, 10), *options, "--nj", "2")
    printed = capsys.readouterr().out
    assert "| xvector | all" in printed and "| ivector | all" in printed
    assert (copy / "exp/xvector/network/fold1/network/config.json").is_file()
    first = outputs(copy, "xvector")
    assert len(first) == 6
    assert run_stage(copy, 7, *options, "--nj", "1", "--stage", "7") == 0
    assert "stage  7/10  networks: 2 to make\n" in capsys.readouterr().err
    run_stages(copy, [8], *options, "--nj", "1", "--stage", "7")
    assert outputs(copy, "xvector") == first


def test_one_system_alone_is_calibrated(copy, capsys):
    shutil.rmtree(copy / "exp/fusion")
    options = (*CORPUS, *SMALL, *ALL, "--system", "gmm-ubm")
    run_stages(copy, (9, 10), *options, "--stage", "9", "--resume", "true")
    assert (copy / "exp/gmm-ubm/llr/fold1/gmm-ubm.scores").is_file()
    printed = capsys.readouterr().out
    assert "| fusion" not in printed and "Cllr" in printed


def test_scores_of_further_lists_are_no_system(tmp_path, caplog):
    """As of tiny-voxceleb, whose lists are dev, val and eval."""
    home, scored = tmp_path / "gmm-ubm/llr/fold0", tmp_path / "gmm-ubm/scores/fold0"
    for folder, mark in (
        (home, {"stamp": "b", "upstream": {"scores of gmm-ubm": "a"}}),
        (scored, {"stamp": "a"}),
    ):
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(json.dumps(mark))
    for name in ("gmm-ubm.scores", "gmm-ubm-val.scores", "gmm-ubm.json"):
        (home / name).touch()
    assert ratios(tmp_path, [Path("fold0")]) == {"gmm-ubm": [home / "gmm-ubm.scores"]}
    assert not caplog.records


def test_a_stage_whose_forerunners_are_missing_names_them(finished, tmp_path, capsys):
    """Those of options are in test_options."""
    assert run_stage(tmp_path, 3, *CORPUS, *SMALL, *IVECTOR, "--stage", "3") == 1
    assert "run stage 0 first" in capsys.readouterr().err
    shutil.copytree(finished / "data", tmp_path / "data", symlinks=True)
    assert run_stage(tmp_path, 3, *CORPUS, *SMALL, *IVECTOR, "--stage", "3") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("run.sh: error: ")
    assert "run with --stage 1" in lines[0]
    assert not list((tmp_path / "exp").rglob(".*"))


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


def test_bad_recordings_are_skipped_and_counted(broken_corpus, tmp_path, capsys):
    corpus = ("--corpus", "folder", "--corpus-dir", str(broken_corpus))
    options = (*SMALL, *IVECTOR, *corpus, "--nj", "1")
    run_stages(tmp_path, (0, 1, 2, 3, 4, 5, 6, 10), *options)
    told = capsys.readouterr()
    assert "Traceback" not in told.err and "| ivector | all" in told.out
    skipped = (tmp_path / "exp/features/skipped").read_text()
    for name in ("cut", "zero", "nan", "stereo"):
        assert name in skipped or name in told.err
    assert "clipped" in (tmp_path / "exp/features/remarks").read_text()
    # Told once more with the results.
    assert "Note: " in told.out and "recordings skipped, for example " in told.out
    assert run_stage(tmp_path / "strict", 0, *options, "--strict", "true") == 1
    assert not (tmp_path / "strict/data").exists()
