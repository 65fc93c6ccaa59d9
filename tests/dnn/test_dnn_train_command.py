"""``python -m dnn.train``: what it writes, signals, users' mistakes."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from training_cases import command, terminate, write_features

from dnn.data.batches import CropBatches
from dnn.training.scalars import read_scalars


def test_command(tmp_path, capsys):
    from dnn import train

    write_features(tmp_path)
    argv = command(tmp_path, "--held-out", "1", "--trials", str(tmp_path / "trials"))[2:]
    assert train.main(train.make_parser().parse_args(argv)) == 0
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
    assert run(train.make_parser(), train.main, arguments) == 75
    assert run(train.make_parser(), train.main, arguments) == 0
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
        assert run(train.make_parser(), train.main, command(tmp_path, *more)[2:]) == code
    except SystemExit as exit:
        assert exit.code == code
    assert text in capsys.readouterr().err.splitlines()[-1]
