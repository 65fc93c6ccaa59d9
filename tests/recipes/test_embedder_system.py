"""The system embedder: vectors of a network that is there already, through the stages of run.sh."""

import os

import numpy as np
import pytest
import soundfile
from step_cases import CORPUS, SMALL, recipe, run_stage, run_stages

from ivector.base.errors import UsageError
from recipes.engine.marks import read_mark
from recipes.engine.settings import read
from recipes.experiment.vectors import read_vectors

SYSTEMS = "ivector cosine gmm-ubm embedder"


@pytest.fixture
def words(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx_cases import of_features

    model = of_features(tmp_path / "m.onnx")
    return (
        *CORPUS, *SMALL, "--dev-folds", "2", "--nj", "1", "--systems", SYSTEMS,
        "--embedder", str(model), "--embedder-front-end", "wespeaker",
    )  # fmt: skip


def planned(folder, words, capsys):
    """What would be run, and why, but for the report, which is made anew each time."""
    capsys.readouterr()
    assert run_stage(folder, "plan", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    found = (line for line in lines if line.startswith("run ") and "/report " not in line)
    return {line.split()[1]: line for line in found}


@pytest.mark.slow
def test_from_recordings_to_the_fusion(copy, words, tmp_path, capsys):
    run_stages(copy, (7, 8, 9, 10), *words)
    printed = capsys.readouterr().out
    assert "| embedder " in printed and "| fusion " in printed
    assert (copy / "exp/fusion/llr/fold0/embedder.scores").is_file()
    # Every recording once, for the trials and for what calibration is learnt from.
    once = read_vectors(copy / "exp/embedder/embeddings/embeddings.npz")
    assert len(once) == 32
    assert {path.name for path in (copy / "exp/development/embedder").iterdir()} == {
        "ivectors", "backend", "scores",
    }  # fmt: skip
    for part in ("embedder/ivectors/fold0", "development/embedder/ivectors/fold0-1"):
        table = read_vectors(copy / "exp" / part / "ivectors.npz")
        assert 8 <= len(table) <= 32
        assert all(np.array_equal(row, once[utt]) for utt, row in table.items())
    # All is left alone until the network is another: not its name, but what it holds.
    assert not planned(copy, words, capsys)
    model = tmp_path / "m.onnx"
    os.utime(model)
    assert not planned(copy, words, capsys)
    stamp = read_mark(copy / "exp/ivector/scores/fold0")["stamp"]
    from onnx_cases import of_features

    of_features(model, ("B", "T", 40), bins=40)
    lines = planned(copy, words, capsys)
    changed = {place.partition("exp/")[2]: line for place, line in lines.items()}
    assert changed["embedder/embeddings"].endswith("# network changed")
    assert "follows stage 7" in changed["embedder/ivectors/fold0"]
    assert not [place for place in changed if "ivector/" in place and "embedder" not in place]
    run_stages(copy, (7, 8, 9, 10), *words)
    again = read_vectors(copy / "exp/embedder/embeddings/embeddings.npz")
    assert not np.allclose(again[min(again)], once[min(once)])
    assert read_mark(copy / "exp/ivector/scores/fold0")["stamp"] == stamp


def test_plda_and_a_cohort_for_its_vectors(copy, words, tmp_path):
    for number in range(6):
        samples = 0.1 * np.random.default_rng(number).standard_normal(8000)
        (tmp_path / "cohort").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "cohort" / f"{number}.wav", samples, 8000)
    words = (
        *words, "--embedder-scoring", "plda", "--embedder-lda-dim", "2",
        "--embedder-norm", "s", "--cohort", str(tmp_path / "cohort"), "--dev-folds", "0",
        "--systems", "embedder",
    )  # fmt: skip
    run_stages(copy, (1, 7, 8, 10), *words)
    cohort = read_vectors(copy / "exp/embedder/cohort/fold1/ivectors.npz")
    assert len(cohort) == 6 and all(utt.startswith("cohort:") for utt in cohort)
    assert (copy / "exp/embedder/backend/fold0/plda").exists()


def test_a_recording_that_cannot_be_embedded_is_left_out(copy, words, tmp_path, caplog):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    table = copy / "data/wav/wav.scp"
    first, *others = table.read_text().splitlines(keepends=True)
    table.write_text("".join([f"{first.split()[0]} {tmp_path / 'silent.wav'}\n", *others]))
    words = (*words, "--systems", "embedder", "--dev-folds", "0")
    run_stages(copy, (7, 8, 10), *words)
    (skipped,) = (copy / "exp/embedder/embeddings/skipped").read_text().splitlines()
    assert skipped.startswith(first.split()[0]) and "every sample is zero" in skipped
    assert "1 recordings skipped" in caplog.text
    assert "utterances have no embedding and are left out" in caplog.text
    assert run_stage(copy, 7, *words, "--strict") == 1


def test_a_killed_stage_goes_on(copy, words, monkeypatch):
    from dnn.embedders import extraction

    whole = run_stages(copy, (7,), *words) / "exp/embedder/embeddings/embeddings.npz"
    before = whole.read_bytes()
    calls = []
    embed = extraction.EmbedShard.__call__

    def counted(self, recordings):
        calls.append(len(recordings))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed(self, recordings)

    monkeypatch.setattr(extraction.EmbedShard, "__call__", counted)
    assert run_stage(copy, 7, *words, "--stage", "7") == 130
    assert run_stage(copy, 7, *words, "--stage", "7") == 0
    assert calls == [16, 16, 16] and whole.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["--systems", "ivector embedder"], "the system embedder needs --embedder, which"),
        (["--system", "embedder"], "the system embedder needs --embedder, which"),
        (["--embedder", "m.onnx"], 'give --systems "ivector cosine gmm-ubm embedder" too'),
        (["--embedder-norm", "z"], "--embedder-norm is of the system embedder"),
        (["--embedder", "m.onnx", "--systems", "embedder"], "needs --embedder-front-end, which"),
        (["--embedder", "none.onnx", "--systems", "embedder"], "and there is none"),
        (["--embedder-front-end", "x", "--systems", "embedder"], "--embedder-front-end takes"),
    ],
)
def test_options_without_the_system_and_the_reverse(tmp_path, given, error):
    (tmp_path / "m.onnx").touch()
    with pytest.raises(UsageError, match=error):
        read(given, tmp_path)


@pytest.mark.parametrize("more", ["--system ivector", "--stop-stage 1", "--systems embedder"])
def test_commands_of_a_part_may_have_the_options_of_the_whole(tmp_path, more):
    (tmp_path / "m.onnx").touch()
    words = ["--embedder", "m.onnx", "--embedder-front-end", "waveform", *more.split()]
    assert read(words, tmp_path).common.embedder == tmp_path / "m.onnx"


def test_a_network_that_is_none_is_refused_before_anything_is_run(tmp_path, words, capsys):
    (tmp_path / "m.onnx").write_text("no network")
    assert recipe("check", *words) == 1
    assert "m.onnx: not a network in ONNX" in capsys.readouterr().err
