"""Any network with any pooling, one of them made up: trained, saved, loaded, extracted."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from model_cases import N_FRAMES, SMALL, batch, settled

from dnn import extract, train
from dnn.data.voiced import open_front_end
from dnn.embedding.export import load_network
from dnn.embedding.extraction import extract as embed
from dnn.embedding.trials import read_vectors
from dnn.models import MODELS, build, build_from_config
from dnn.models.folding import fold
from dnn.models.pooling import POOLINGS, AveragePooling, Pooling
from ivector.base.cli import run
from ivector.base.errors import UsageError
from ivector.formats.arks import ArkWriter

NETWORKS = {
    "ecapa": {"channels": 16, "aggregation_dim": 24, "embedding_dim": 8, "bottleneck": 4},
    "xvector": {"channels": [16, 16, 16, 16, 24], "embedding_dim": 8, "segment7_dim": 0},
    "resnetse34l": {"channels": [4, 4, 8, 8], "n_blocks": [1, 1, 1, 1], "embedding_dim": 8},
}


class Extremes(Pooling):
    """Largest and smallest value over time: (B, T, D) to (B, 2D)."""

    def __init__(self, n_dims):
        super().__init__()
        self.output_dim = 2 * n_dims

    def forward(self, frames, mask=None):
        valid = torch.ones(frames.shape[:2], dtype=torch.bool) if mask is None else mask
        parts = [
            frames.masked_fill(~valid[:, :, None], -torch.inf).amax(1),
            frames.masked_fill(~valid[:, :, None], torch.inf).amin(1),
        ]
        return torch.cat(parts, 1)


@pytest.fixture
def extremes(monkeypatch):
    """The made-up pooling in the table, which is all that it takes."""
    monkeypatch.setitem(POOLINGS, "extremes", Extremes)
    return "extremes"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features of four speakers, of different lengths."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    means = rng.standard_normal((4, 20))
    with ArkWriter(folder / "feats") as writer:
        for i in range(16):
            n_frames = int(rng.integers(40, 80))
            frames = means[i % 4] + rng.standard_normal((n_frames, 20))
            writer.write(f"u{i:02d}", frames.astype(np.float32))
    (folder / "utt2spk").write_text("".join(f"u{i:02d} s{i % 4}\n" for i in range(16)))
    return folder


def small(name, pooling):
    torch.manual_seed(3)
    return build(name, **{**SMALL[name], "pooling": pooling})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pooling_made_up_here_trains_saves_loads_and_extracts(name, extremes, features, tmp_path):
    out = tmp_path / "training"
    options = [f"--model-option={k}={json.dumps(v)}" for k, v in NETWORKS[name].items()]
    words = [
        "--features", features / "feats.scp", "--utt2spk", features / "utt2spk", "--out", out,
        "--model", name, "--pooling", extremes, *options, "--steps", 3, "--batch-size", 8,
        "--frames", 30, "--device", "cpu", "--threads", 1,
    ]  # fmt: skip
    assert run(train.make_parser(), train.main, list(map(str, words))) == 0
    told = json.loads((out / "network" / "config.json").read_text())["model"]["options"]
    assert told["pooling"] == extremes
    model = load_network(out / "network")
    assert isinstance(model.pooling, Extremes) and model.config()["options"] == told

    vectors = tmp_path / "vectors.npz"
    words = [out, "--features", features / "feats.scp", "--out", vectors, "--device", "cpu"]
    assert run(extract.make_parser(), extract.main, list(map(str, words))) == 0
    ids, together = read_vectors(vectors)
    source = open_front_end(features / "feats.scp")
    assert ids == source.ids and together.shape == (16, 8) and np.ptp(together, axis=0).min() > 0
    alone = np.concatenate([embed(model, source, [i]) for i in range(16)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_a_file_names_it_too(extremes, features, tmp_path):
    network = {"name": "ecapa", "pooling": extremes, "options": NETWORKS["ecapa"]}
    (tmp_path / "mine.json").write_text(json.dumps({"model": network}))
    words = [
        "--features", features / "feats.scp", "--utt2spk", features / "utt2spk", "--out",
        tmp_path / "out", "--config", tmp_path / "mine.json", "--steps", 1, "--batch-size", 4,
        "--frames", 20, "--device", "cpu", "--threads", 1,
    ]  # fmt: skip
    assert run(train.make_parser(), train.main, list(map(str, words))) == 0
    assert isinstance(load_network(tmp_path / "out" / "network").pooling, Extremes)


def test_unknown_ones_are_refused(features, tmp_path, capsys):
    words = ["--features", "f", "--utt2spk", "u", "--out", "o", "--pooling", "extremes"]
    assert run(train.make_parser(), train.main, words) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "--pooling: takes one of average, statistics" in told[0]
    with pytest.raises(UsageError, match="no pooling is called 'extremes'"):
        small("ecapa", "extremes")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", MODELS)
def test_every_network_takes_every_pooling(name, pooling):
    model = settled(small(name, pooling))
    config = json.loads(json.dumps(model.config()))
    assert config["options"]["pooling"] == pooling
    again = build_from_config(config)
    assert again.config() == config and type(again.pooling) is POOLINGS[pooling]
    features, least = batch(model, 3), model.min_frames
    lengths = torch.tensor([N_FRAMES, max(least, 41), max(least, 17)])
    for i, length in enumerate(lengths):
        features[i, length:] = 1e3
    with torch.no_grad():
        together = model(features, lengths)
        alone = [model(features[i : i + 1, :n])[0] for i, n in enumerate(lengths)]
        folded = fold(model)(features, lengths)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded, together, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_s_own_pooling_is_not_told(name):
    model = small(name, None)
    assert "pooling" not in model.config()["options"]
    assert type(build_from_config(model.config()).pooling) is type(model.pooling)


def test_sizes_go_to_poolings_that_have_them():
    attentive = build("ecapa", **{**NETWORKS["ecapa"], "pooling": "self-attentive"})
    assert attentive.pooling.hidden.out_features == NETWORKS["ecapa"]["bottleneck"]
    assert isinstance(build("ecapa", pooling="average").pooling, AveragePooling)
