"""Stages 7 and 8 with a file of the network's configuration."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("torch")

from step_cases import CORPUS, SMALL, places, recipe, run_stage

from dnn.embedding.export import load_network
from dnn.training.checkpoint import load_checkpoint

NETWORK = (*CORPUS, *SMALL, "--system", "xvector", "--dev-folds", "0", "--device", "cpu",
           "--xvector-steps", "5", "--xvector-frames", "60 80", "--nj", "1")  # fmt: skip


@pytest.fixture
def corpus(copy):
    """Data and features of the small generated corpus."""
    return copy


def trained(corpus, *words):
    """Folder of the first fold's network."""
    assert run_stage(corpus, 7, *NETWORK, *map(str, words)) == 0
    return corpus / "exp/xvector/network/fold0"


def options(folder):
    return json.loads((folder / "options.json").read_text())["options"]


def test_a_file_reaches_what_the_options_do_not(corpus, tmp_path):
    path = tmp_path / "network.json"
    path.write_text(json.dumps({
        "model": {"name": "ecapa", "pooling": "statistics",
                  "options": {"channels": 16, "aggregation_dim": 24, "embedding_dim": 8}},
        "loss": {"name": "aam-softmax", "margin": 0.3, "margin_stands": 0.4},
        "optimiser": {"average": 0.5},
        "augmentation": {"spec_augment": False},
        "training": {"steps": 900},
    }))  # fmt: skip
    folder = trained(corpus, "--xvector-config", path)
    model = load_network(folder / "network")
    assert model.name == "ecapa" and model.config()["options"]["pooling"] == "statistics"
    state = load_checkpoint(folder / "last.pt")
    assert state["step"] == 5 and state["average"] is not None  # the command line's steps won
    assert state["identity"]["loss"]["options"]["margin"] == 0.3
    assert state["training"]["margin"]["end"] == 2
    told = options(folder)
    assert told["model"] == "ecapa" and told["model.pooling"] == "statistics"
    assert told["optimiser.average"] == 0.5 and told["spec_augment"] == 0
    before = (folder / "done.json").read_bytes()
    trained(corpus, "--xvector-config", path)
    assert (folder / "done.json").read_bytes() == before
    path.write_text(path.read_text().replace('"statistics"', '"average"'))
    assert "average" in str(options(trained(corpus, "--xvector-config", path)))

    assert run_stage(corpus, 8, *NETWORK, "--xvector-config", str(path)) == 0
    with np.load(corpus / "exp/xvector/ivectors/fold0/ivectors.npz") as vectors:
        assert vectors["vectors"].shape[1] == 8


def test_the_mark_of_a_usual_network_is_as_ever(corpus):
    told = options(trained(corpus))
    assert told == {
        "model": "xvector-small", "loss": "am-softmax", "margin": 0.2, "scale": 30.0,
        "frames": [60, 80], "batch_size": 64, "num_steps": 5, "learning_rate": 2e-3,
        "weight_decay": 0.05, "utterances_per_speaker": 2, "spec_augment": 1,
        "normalisation": "cmn", "cmn_window": 300, "seed": 0, "threads": 1, "device": "cpu",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words", "text"),
    [
        ({"augmentation": {"sound": 0.5}}, (), "augmentation.sound: is none of this task's"),
        ({"training": {"seed": 3}}, (), "training.seed: is none of this task's: the recipe's"),
        ({"batches": {"size": 3}}, (), "batches.size: no such key"),
        ({}, ("--xvector-model", "xvectors"), "--xvector-model takes one of"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, content, words, text):
    """Before anything is run."""
    path = tmp_path / "network.json"
    path.write_text(json.dumps(content))
    assert recipe("check", *places(tmp_path), *NETWORK, "--xvector-config", str(path), *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and text in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]


@pytest.mark.parametrize("number", [7, 8])
def test_what_is_not_installed_is_told_in_one_line(corpus, capsys, monkeypatch, number):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in list(sys.modules):
        if name.startswith("dnn."):
            monkeypatch.delitem(sys.modules, name)
    assert run_stage(corpus, number, *NETWORK) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "networks and GPUs need torch, which is not installed: pip install 'ivector-plda[dnn]'"
        in line
    )
