"""Stages 7 and 8 with a file of the network's configuration."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from dnn.embedding.export import load_network
from dnn.training.checkpoint import load_checkpoint
from recipes import prepare
from recipes.steps.__main__ import main as step

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--num-steps", "5", "--frames", "60", "80", "--device", "cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Data and features of a small generated corpus; a folder of data, one of experiments."""
    folder = tmp_path_factory.mktemp("corpus")
    words = ["synthetic", "--out", str(folder / "data"), "--speakers", "6", "--sessions", "3"]
    assert prepare.cli(words) == 0
    common = ["--data", str(folder / "data"), "--exp", str(folder / "exp")]
    mfcc, vad = (str(ROOT / "recipes" / "conf" / f"{name}.conf") for name in ("mfcc_8k", "vad"))
    assert step(["features", *common, "--mfcc-config", mfcc, "--vad-config", vad]) == 0
    return folder


def trained(corpus, system, *words):
    """Folder of the first fold's network."""
    common = ["--data", str(corpus / "data"), "--exp", str(corpus / "exp"), "--system", system]
    assert step(["xvector", *common, *SMALL, *map(str, words)]) == 0
    return corpus / "exp" / system / "network" / "fold0"


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
    folder = trained(corpus, "ecapa", "--config", path)
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
    trained(corpus, "ecapa", "--config", path)
    assert (folder / "done.json").read_bytes() == before
    path.write_text(path.read_text().replace('"statistics"', '"average"'))
    assert "average" in str(options(trained(corpus, "ecapa", "--config", path)))

    common = ["--data", str(corpus / "data"), "--exp", str(corpus / "exp"), "--system", "ecapa"]
    assert step(["xvectors", *common]) == 0
    with np.load(corpus / "exp/ecapa/ivectors/fold0/ivectors.npz") as vectors:
        assert vectors["vectors"].shape[1] == 8


def test_the_mark_of_a_usual_network_is_as_ever(corpus):
    told = options(trained(corpus, "xvector"))
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
        ({}, ("--model", "xvectors"), "--model"),
    ],
)
def test_mistakes_are_one_line(corpus, tmp_path, capsys, content, words, text):
    path = tmp_path / "network.json"
    path.write_text(json.dumps(content))
    common = ["--data", str(corpus / "data"), "--exp", str(corpus / "exp"), "--system", "x"]
    try:
        code = step(["xvector", *common, "--config", str(path), *words])
    except SystemExit as exit:
        code = exit.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and text in lines[0]
    assert not (corpus / "exp" / "x").exists()
