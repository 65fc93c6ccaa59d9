"""``python -m dnn.train``: what it writes, signals, users' mistakes."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from training_cases import (
    speech,
    terminate,
)

from dnn.data.batches import CropBatches
from dnn.training.scalars import read_scalars


def write_features(folder, n_each=4):
    """feats.scp, vad.scp and utt2spk of six speakers, and trials."""
    from ivector.formats.arks import ArkWriter

    source, labels = speech(2, n_each)
    with ArkWriter(folder / "feats") as feats, ArkWriter(folder / "vad") as vad:
        for i, key in enumerate(source.ids):
            frames = source.read(i)
            feats.write(key, frames)
            voiced = np.ones(len(frames), np.float32)
            voiced[::9] = 0
            vad.write(key, voiced)
    lines = "".join(f"{key} spk{s}\n" for key, s in zip(source.ids, labels))
    (folder / "utt2spk").write_text(lines)
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    named = {True: "target", False: "nontarget"}
    trials = "".join(
        f"{source.ids[i]} {source.ids[j]} {named[bool(labels[i] == labels[j])]}\n" for i, j in pairs
    )
    (folder / "trials").write_text(trials)


def command(folder, *more):
    return [
        "-m", "dnn.train", "--features", str(folder / "feats.scp"), "--vad",
        str(folder / "vad.scp"), "--utt2spk", str(folder / "utt2spk"), "--out",
        str(folder / "exp"), "--steps", "4", "--batch-size", "8", "--frames", "18", "24",
        "--threads", "1", "--save-every", "2", "--model-option", "channels=[16,16,16,16,24]",
        *more,
    ]  # fmt: skip


def test_command(tmp_path, capsys):
    from dnn import train

    write_features(tmp_path)
    argv = command(tmp_path, "--held-out", "1", "--trials", str(tmp_path / "trials"))[2:]
    assert train.main(train.build_parser().parse_args(argv)) == 0
    config = json.loads((tmp_path / "exp" / "network" / "config.json").read_text())
    assert config["speakers"] == [f"spk{i}" for i in range(6)]
    assert config["vad"] is True and config["model"]["options"]["channels"][-1] == 24
    measured = [r for r in read_scalars(tmp_path / "exp" / "scalars.jsonl") if len(r) == 3]
    assert {"validation_eer", "validation_accuracy"} <= measured[-1].keys()


def test_command_stopped_by_sigterm_exits_with_75(tmp_path, monkeypatch):
    from dnn import train
    from ivector.base.cli import run

    write_features(tmp_path)
    get = CropBatches.get
    calls = []

    def signalled(self, step, rows=slice(None)):
        calls.append(step)
        if calls == [0, 1]:
            terminate()
        return get(self, step, rows)

    monkeypatch.setattr(CropBatches, "get", signalled)
    arguments = command(tmp_path)[2:]
    assert run(train.build_parser(), train.main, arguments) == train.STOPPED == 75
    assert run(train.build_parser(), train.main, arguments) == 0
    assert calls == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (["--frames", "5"], 2, "at least 15 frames"),
        (["--frames", "30", "20"], 2, "least and the largest"),
        (["--loss", "ge2e"], 2, "--per-speaker"),
        (["--model-option", "channels"], 2, "NAME=VALUE"),
        (["--model-option", "widths=3"], 2, "no option 'widths'"),
        (["--held-out", "4"], 1, "leaves none to train on"),
        (["--enroll", "x"], 2, "--trials only"),
        (["--features", "nowhere"], 1, "nowhere"),
        (["--lr", "0"], 2, "--lr"),
    ],
)
def test_command_with_mistakes(tmp_path, capsys, more, code, text):
    from dnn import train
    from ivector.base.cli import run

    write_features(tmp_path)
    try:
        assert run(train.build_parser(), train.main, command(tmp_path, *more)[2:]) == code
    except SystemExit as exit:
        assert exit.code == code
    assert text in capsys.readouterr().err.splitlines()[-1]
