"""Training and extraction on a GPU: precision, same bytes, resuming, ranks; the CPU's numbers."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU is here", allow_module_level=True)

from training_cases import (
    Killed,
    StopAt,
    batches,
    command,
    kill,
    make,
    speech,
    weights,
    write_features,
)

from dnn.data.sources import ArraySource
from dnn.embedding.export import load_network
from dnn.embedding.extraction import extract
from dnn.losses.table import LOSSES
from dnn.models import build
from dnn.training.scalars import read_scalars

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["conformer", "xvector"]


def losses(folder):
    return [row["loss"] for row in read_scalars(folder / "scalars.jsonl") if "loss" in row]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_same_seed_same_bytes(tmp_path, model, precision):
    for name in ("a", "b"):
        make(tmp_path / name, model=model, device="cuda", precision=precision).fit()
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert losses(tmp_path / "a")[-1] < losses(tmp_path / "a")[0]


def test_bytes_are_the_same_with_crops_of_one_length(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name, batches(n_frames=30), model="xvector", device="cuda").fit()
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize("model", MODELS)
def test_float32_trains_as_the_cpu_does(tmp_path, model):
    for device in ("cpu", "cuda"):
        make(tmp_path / device, model=model, device=device, precision="float32", n_steps=2,
             log_every=1).fit()  # fmt: skip
    # Dropout draws other numbers on a GPU, and AdamW makes much of the least gradient.
    rtol = (1e-5, 1e-2) if model == "xvector" else (0.1, 0.2)
    for got, expected, within in zip(losses(tmp_path / "cuda"), losses(tmp_path / "cpu"), rtol):
        assert abs(got - expected) < within * expected


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_killed_training_ends_with_the_same_bytes(tmp_path, n_workers):
    make(tmp_path / "whole", device="cuda", n_workers=n_workers).fit()
    with pytest.raises(Killed):
        make(tmp_path / "cut", StopAt(batches(), 7, kill), device="cuda").fit()
    make(tmp_path / "cut", device="cuda", n_workers=n_workers).fit()
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_trains(tmp_path, loss):
    given = batches(utterances_per_speaker=2)
    outcome = make(tmp_path, given, loss=loss, device="cuda").fit()
    assert outcome.finished and all(np.isfinite(losses(tmp_path)))


@pytest.mark.slow
def test_a_compiled_network_trains(tmp_path):
    given = batches(n_frames=30)
    options = {"model": "xvector", "device": "cuda", "n_steps": 2, "log_every": 1}
    for name, compiled in (("a", True), ("b", False)):
        make(tmp_path / name, given, compile=compiled, precision="float32", **options).fit()
    np.testing.assert_allclose(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=1e-2)
    assert make(tmp_path / "c", given, compile=True, **options).fit().finished  # bfloat16


@pytest.mark.parametrize("name", ["xvector", "ecapa", "resnetse34l"])
def test_embeddings_of_large_networks_are_those_of_the_cpu(name):
    torch.manual_seed(0)
    network = build(name, n_features=40)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 40), np.float32) for n in (200, 300, 301, 900)]
    source = ArraySource(list("abcd"), arrays)
    expected = extract(network, source)
    got = extract(network, source, device="cuda")
    assert np.linalg.norm(got - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("model", MODELS)
def test_embeddings_are_those_of_the_cpu(tmp_path, model):
    make(tmp_path, model=model, device="cuda", n_steps=2).fit()
    source, _ = speech()
    network = load_network(tmp_path / "network")
    expected = extract(network, source)
    got = extract(network, source, device="cuda")
    assert np.linalg.norm(got - expected) < 1e-4 * np.linalg.norm(expected)
    np.testing.assert_array_equal(extract(network, source, device="cuda"), got)


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does(tmp_path):
    write_features(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    start = {
        "alone": [],
        "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"],
    }
    for name, before in start.items():
        words = [*before, *command(tmp_path)]
        words[words.index("--out") + 1] = str(tmp_path / name)
        done = subprocess.run(
            [sys.executable, *words, "--device", "cuda"], env=environment, cwd=ROOT,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "torchrun") == weights(tmp_path / "alone")
    assert json.loads((tmp_path / "alone" / "network" / "config.json").read_text())["speakers"]
