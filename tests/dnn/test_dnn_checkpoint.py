"""Checkpoints and exported networks: whole or absent, told from others, never unpickled."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from model_cases import SMALL, batch, settled
from safetensors.torch import load_file, save_file

from dnn.embedding.export import load_classifier, load_network, read_config, save_network
from dnn.losses.table import build_loss
from dnn.models import MODELS, build
from dnn.training.checkpoint import load_checkpoint, remove_leftovers, save_checkpoint
from dnn.training.identity import differences
from dnn.training.optimisers import MovingAverage, build_optimiser
from ivector.base.errors import DataError, UsageError


def small(name="xvector-small"):
    torch.manual_seed(3)
    return settled(build(name, **SMALL[name]))


@pytest.fixture
def folder(tmp_path):
    """An exported network with two classes."""
    model = small()
    loss = build_loss("aam-softmax", model.head_dim, 2)
    save_network(tmp_path, model, loss, ["ann", "bob"], {"front_end": {"delta_order": 0}})
    return tmp_path


# Checkpoints


def test_checkpoint_round_trip(tmp_path):
    path = tmp_path / "last.pt"
    weight = torch.randn(3, 4)
    state = {"weights": {"a": weight, "n": torch.tensor(7)}, "step": 5, "best": None, "f": 0.1}
    save_checkpoint(path, {**state, "names": ["x", "y"], "flag": True})
    read = load_checkpoint(path)
    assert torch.equal(read["weights"]["a"], weight)
    assert (read["step"], read["best"], read["f"], read["names"]) == (5, None, 0.1, ["x", "y"])
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_checkpoint_of_a_killed_writer_leaves_the_former(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})

    def cut(state, file):
        file.write(b"PK half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path)["step"] == 1
    # SIGKILL leaves the temporary file too; the next run removes it.
    (tmp_path / ".last.tmp4711.pt").write_bytes(b"PK")
    (tmp_path / "scalars.jsonl").touch()
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "scalars.jsonl"]


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_bomb_is_refused(tmp_path, legacy):
    path, harm = tmp_path / "last.pt", tmp_path / "harm"
    if legacy:
        path.write_bytes(pickle.dumps({"format": 1, "step": Bomb(harm)}))
    else:
        torch.save({"format": 1, "step": Bomb(harm)}, path)
    with pytest.raises(DataError, match="refused: it holds more than tensors"):
        load_checkpoint(path)
    assert not harm.exists()


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "last.pt"
    with pytest.raises(DataError, match="cannot be read"):
        load_checkpoint(path)
    save_checkpoint(path, {"step": 1, "w": torch.zeros(1000)})
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-700], whole[: len(whole) // 2], whole[1:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "b")
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(DataError, match="not a checkpoint of this toolkit"):
        load_checkpoint(path)
    torch.save({"format": 99}, path)
    with pytest.raises(DataError, match="newer"):
        load_checkpoint(path)


def test_differences_are_named():
    one, two = small().config(), build("ecapa").config()
    assert differences(one, one) == []
    told = differences({"model": one}, {"model": two})
    assert "model.name is 'xvector' here and 'ecapa' in the checkpoint" in told
    assert any(t.startswith("model.options.scale is None here and 8") for t in told)


# Exported networks


@pytest.mark.parametrize("name", MODELS)
def test_every_network_comes_back(tmp_path, name):
    model = small(name)
    save_network(tmp_path, model)
    before = torch.get_rng_state()
    again = load_network(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not again.training and again.config() == json.loads(json.dumps(model.config()))
    assert all(not p.is_meta for p in [*again.parameters(), *again.buffers()])
    with torch.no_grad():
        assert torch.equal(again(batch(model)), model(batch(model)))
    assert all(p.requires_grad for p in again.parameters())


def test_classifier_comes_back(folder):
    model, loss, speakers = load_classifier(folder)
    assert speakers == ["ann", "bob"] and loss.n_classes == 2
    assert read_config(folder)["front_end"] == {"delta_order": 0}
    with torch.no_grad():
        assert loss.logits(model.head(model(batch(model)))).shape == (4, 2)


def test_same_network_same_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    model, loss, speakers = load_classifier(folder)
    save_network(other, model, loss, speakers, {"front_end": {"delta_order": 0}})
    for name in ("config.json", "network.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_network_without_classes(tmp_path):
    model = small()
    save_network(tmp_path, model)
    with pytest.raises(DataError, match="holds no classes"):
        load_classifier(tmp_path)
    save_network(tmp_path, model, build_loss("triplet", 0, 0))
    with pytest.raises(DataError, match="triplet, which has no classes"):
        load_classifier(tmp_path)
    save_network(tmp_path, model, build_loss("softmax", model.head_dim, 3), ["ann"])
    with pytest.raises(DataError, match="names 1 speakers for 3 classes"):
        load_classifier(tmp_path)


def rewrite(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["model"].update(name="vgg-x"), "another config.json"),
        (lambda c: c["model"]["options"].update(embedding_dim=17), "another config.json"),
        (lambda c: c.update(model="xvector"), "not a network's configuration"),
        (lambda c: c.update(format=7), "format 7"),
        (lambda c: c.update(format="1"), "its format is 1, expected int"),
    ],
)
def test_configuration_of_another_network(folder, change, text):
    rewrite(folder, change)
    with pytest.raises(DataError, match=text):
        load_network(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["model"].update(name="vgg-x"), "config.json: model: no model is called"),
        (lambda c: c["model"]["options"].update(widths=3), "no option 'widths'"),
        (lambda c: c["model"]["options"].update(n_features="many"), "config.json: model: "),
        (lambda c: c["model"]["options"].update(embedding_dim=17), "segment6.weight is torch.fl"),
        (lambda c: c["model"]["options"].update(segment7_dim=9), "lacks tensor model.segment7"),
    ],
)
def test_weights_of_another_network(folder, change, text):
    path = folder / "network.safetensors"
    save_file(load_file(path), path)  # by others, without what ours says about the network
    assert load_network(folder).embedding_dim == 16
    rewrite(folder, change)
    with pytest.raises(DataError, match=text):
        load_network(folder)


def test_damaged_exports(folder):
    path = folder / "network.safetensors"
    whole = path.read_bytes()
    for content in (b"", whole[:-5], whole[:100], b"\xff" * 64, pickle.dumps(Bomb("x"))):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a safetensors file, or damaged"):
            load_network(folder)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_network(folder)
    path.write_bytes(whole)
    tensors = load_file(path)
    save_file({**tensors, "model.extra": torch.zeros(1)}, path)
    with pytest.raises(DataError, match=r"has a foreign tensor model\.extra"):
        load_network(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match="configuration in JSON"):
        load_network(folder)
    (folder / "config.json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_network(folder)


# Optimisers and averages


def test_decay_spares_biases():
    model = small()
    for name in ("adamw", "sgd"):
        optimiser = build_optimiser(name, [model], 0.1)
        decays = {
            id(p): group["weight_decay"]
            for group in optimiser.param_groups
            for p in group["params"]
        }
        assert len(decays) == len(list(model.parameters()))
        for parameter in model.parameters():
            assert decays[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0)
    with pytest.raises(UsageError, match="no optimiser is called 'lion'"):
        build_optimiser("lion", [model])
    with pytest.raises(UsageError, match="weight decay -1"):
        build_optimiser("sgd", [model], -1)


def test_moving_average_equals_its_definition():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = MovingAverage(module, 0.3)
    expected = module[0].weight.detach().clone()
    for n in range(5):
        with torch.no_grad():
            module[0].weight.add_(1.0)
            module[1].num_batches_tracked.add_(1)
        average.update()
        share = min(0.3, (1 + n) / (10 + n))
        expected = share * expected + (1 - share) * module[0].weight.detach()
    torch.testing.assert_close(average.module[0].weight, expected)
    assert average.module[1].num_batches_tracked == 5
    assert not average.module.training
    with pytest.raises(UsageError, match="below 1"):
        MovingAverage(module, 1.0)


@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("most", [3_000, 60_000, 118_000])
def test_a_disk_that_is_full_is_told(tmp_path, most):
    """Whatever torch makes of it; the limit stands for a disk that takes no more."""
    script = """\
import resource, sys, torch
from dnn.training.checkpoint import save_checkpoint
state = {"w": [torch.ones(1000, 3) for _ in range(10)]}
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    save_checkpoint(sys.argv[1], state)
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
    path = tmp_path / "last.pt"
    path.write_bytes(b"the former one")
    # A count of the lines that are run would not fit on that disk either.
    counted = {name: text for name, text in os.environ.items() if not name.startswith("COV")}
    words = [sys.executable, "-c", script, str(path), str(most)]
    done = subprocess.run(words, capture_output=True, text=True, env=counted)
    assert done.stderr.strip() == f"DataError: {path}: cannot be written: File too large"
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_bytes() == b"the former one"
