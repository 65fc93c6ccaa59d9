"""Networks as ONNX files: onnxruntime gives torch's embeddings, for batches and lengths of all."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

import numpy as np
from model_cases import batch, settled, small

from dnn import save_network
from dnn.embedding.onnx import INPUT, OUTPUT, export_onnx
from dnn.export import main, make_parser
from dnn.models import MODELS
from dnn.models.pooling import POOLINGS
from ivector.base.cli import run


def onnx_embeddings(path, features):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: features.numpy()})[0]


def check(model, path):
    export_onnx(path, model)
    for n_utterances, n_frames in ((1, 60), (1, 301), (3, 97)):
        features = batch(model, n_utterances, max(n_frames, model.min_frames))
        with torch.no_grad():
            expected = model(features).numpy()
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(onnx_embeddings(path, features), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_are_torch_s(name, tmp_path):
    check(settled(small(name)), tmp_path / "x.onnx")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_of_every_pooling(pooling, tmp_path):
    from dnn.models import build

    torch.manual_seed(4)
    options = {"n_features": 20, "channels": (16, 16, 16, 16, 24), "embedding_dim": 8}
    check(settled(build("xvector", pooling=pooling, **options)), tmp_path / "x.onnx")


def test_the_model_is_left_as_it_was(tmp_path):
    model = small("xvector").train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    export_onnx(tmp_path / "x.onnx", model)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_the_command_takes_a_training_s_folder(tmp_path, capsys):
    model = settled(small("ecapa"))
    save_network(tmp_path / "training" / "network", model)
    out = tmp_path / "out" / "x.onnx"
    assert run(make_parser(), main, [str(tmp_path / "training"), "--out", str(out)]) == 0
    features = batch(model, 1, 80)
    with torch.no_grad():
        expected = model(features).numpy()
    np.testing.assert_allclose(onnx_embeddings(out, features), expected, rtol=0, atol=1e-4)
    assert [path.name for path in out.parent.iterdir()] == ["x.onnx"]
    assert run(make_parser(), main, [str(tmp_path / "training"), "--out", "x.pt"]) == 2
    assert "ends in .onnx" in capsys.readouterr().err
