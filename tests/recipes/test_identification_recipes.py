"""Recipes of the identification tasks on miniature data, and their users' mistakes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]


def recipe(name: str, *options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
    command = ["bash", str(ROOT / "recipes" / f"{name}.sh"), *options]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_vggm_runs_from_generated_records_to_accuracy_and_speed(tmp_path):
    exp = tmp_path / "an experiment"
    done = recipe("vggm_identification", "--miniature", "--exp", exp.name, "--epochs", "1",
                  "--width", "0.03", "--stop-stage", "2", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "instances/s" in done.stdout
    results = json.loads((exp / "vgg-m" / "test" / "results.json").read_text())
    assert results["utterances"] == 18 and results["instances_per_s"] > 0
    assert json.loads((exp / "vgg-m" / "speed.json").read_text())["instances_per_s"] > 0


@pytest.mark.slow
def test_conformer_runs_from_csv_tables_to_the_report(tmp_path):
    network = tmp_path / "network.json"
    network.write_text(json.dumps({"model": {"pooling": "statistics"}}))
    done = recipe("conformer_identification", "--exp", str(tmp_path / "exp"), "--steps", "2",
                  "--sweep-steps", "1", "--sweep-batch-sizes", "", "--sweep-widths", "",
                  "--sweep-models", "", "--variant", "csv", "--network-config", network.name,
                  "--miniature", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exp" / "conformer" / "test" / "confusion.png").exists()
    told = json.loads((tmp_path / "exp" / "conformer" / "network" / "config.json").read_text())
    assert told["model"]["options"]["pooling"] == "statistics"
    lines = (tmp_path / "exp" / "output.csv").read_text().splitlines()
    assert lines[0] == "Id,Category" and len(lines) == 25
    report = (tmp_path / "exp" / "sweep" / "report.md").read_text()
    assert "## Learning rate" in report and report in done.stdout


@pytest.mark.slow
def test_a_folder_of_speakers_is_cut_and_all_systems_share_a_table(tmp_path):
    import numpy as np
    import soundfile

    from dnn.miniature import RATE, draw_voice, speak

    corpus = tmp_path / "my speakers"
    for speaker in range(4):
        voice = draw_voice(np.random.default_rng([5, speaker]))
        (corpus / f"s{speaker}").mkdir(parents=True)
        for utterance in range(5 if speaker else 2):  # the first has nothing to test
            samples = speak(voice, RATE, np.random.default_rng([5, speaker, utterance]))
            path = corpus / f"s{speaker}" / f"s{speaker}-{utterance}.flac"
            soundfile.write(path, samples.astype(np.int16), RATE)
    common = ("--corpus-dir", corpus.name, "--exp", "exp", "--train-per-speaker", "3",
              "--workers", "0", "--threads", "1", "--device", "cpu",
              "--validations", "1")  # fmt: skip
    small = "--classical-options=--components 2 --rank 3 --gmm-components 4"
    done = recipe("vggm_identification", *common, "--width", "0.03", "--batch-size", "4",
                  "--epochs", "1", "--frames", "80", "--stop-stage", "2", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 of 4 speakers have no more than 3 recordings" in done.stderr
    done = recipe("conformer_identification", *common, "--width", "0.06", "--num-blocks", "1",
                  "--batch-size", "4", "--warmup", "0", "--steps", "4", "--frames", "40",
                  small, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    exp = tmp_path / "exp"
    report = (exp / "report.md").read_text()
    assert "3 speakers, 6 test utterances" in report
    for system in ("VGG-M", "Conformer", "i-vector + PLDA", "GMM-UBM (MAP)"):
        assert f"| {system} |" in report and system in done.stdout
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", report):
        assert (exp / picture).read_bytes()[:4] == b"\x89PNG"
    answers = (exp / "output.csv").read_text().splitlines()
    assert answers[0] == "Id,Category" and len(answers) == 7
    tested = {line.split(",")[0] for line in answers[1:]}
    trained = {line.split()[0] for line in (exp / "data/train/utt2spk").read_text().splitlines()}
    assert tested == {f"s{s}-{u}" for s in (1, 2, 3) for u in (3, 4)} and not tested & trained
    results = json.loads((exp / "gmm-ubm" / "test" / "results.json").read_text())
    assert results["utterances"] == 6 and results["parameters"] == 4 + 2 * 4 * 72


@pytest.mark.parametrize("name", ["vggm_identification", "conformer_identification"])
def test_mistakes_are_told_before_anything_runs(name):
    for options, words in (
        ((), "give --data-dir"),
        (("--miniature", "--no-such", "1"), "unknown option --no-such"),
        (("--miniature", "--stage", "x"), "--stage takes a whole number"),
        (("--miniature", "--stop-stage", "9"), "--stop-stage is 0 to"),
        (("--corpus-dir", "a", "--data-dir", "b"), "--corpus-dir"),
        (("--miniature", "true", "more"), "unexpected argument 'more'"),
    ):
        done = recipe(name, *options)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Stages: 0 data" in recipe(name, "--help").stdout
