"""Extraction: the same embeddings as one by one, chunks, short utterances, files, the command."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from model_cases import SMALL, settled

from dnn.curves import plot_curves
from dnn.data.sources import ArraySource
from dnn.data.voiced import FrontEndSource, in_memory, open_front_end
from dnn.embedding.export import save_network
from dnn.embedding.extraction import extract, write_vectors
from dnn.models import MODELS, build
from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError
from ivector.base.files import load_model
from ivector.formats.arks import ArkWriter, read_matrix
from ivector.pipeline import FrontEnd


def small(name="xvector-small"):
    torch.manual_seed(3)
    return settled(build(name, **SMALL[name]))


def source_for(model, lengths, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((n, model.n_features)).astype(np.float32) for n in lengths]
    return ArraySource([f"u{i}" for i in range(len(arrays))], arrays)


def alone(model, frames):
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(frames))[None])[0].numpy()


@pytest.mark.parametrize("name", MODELS)
def test_same_as_one_by_one(name):
    model = small(name)
    least = model.min_frames
    lengths = [least, least + 40, least + 3, least + 42, least + 44, least + 1, least + 150]
    source = source_for(model, lengths)
    expected = np.stack([alone(model, source.read(i)) for i in range(len(lengths))])
    vectors = extract(model, source, max_frames=200)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=2e-3, atol=2e-4)
    some = extract(model, source, [4, 0, 4])
    np.testing.assert_allclose(some, vectors[[4, 0, 4]], rtol=2e-3, atol=2e-4)


def test_model_stays_as_it_is():
    model = small().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    extract(model, source_for(model, [40, 50]), n_threads=1)
    assert model.training and list(before) == list(model.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.get_num_threads() == 1


def test_chunks_are_averaged_by_their_lengths():
    model = small()
    source = source_for(model, [100, 40, 17])
    vectors = extract(model, source, chunk=40)
    edges = [0, 33, 66, 100]
    parts = [alone(model, source.read(0, a, b - a)) for a, b in pairwise(edges)]
    expected = np.average(parts, axis=0, weights=np.diff(edges))
    np.testing.assert_allclose(vectors[0], expected, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(vectors[1], alone(model, source.read(1)), rtol=2e-3, atol=2e-4)
    with pytest.raises(UsageError, match="chunks of 10 frames are shorter than the 15"):
        extract(model, source, chunk=10)
    # 17 frames are not cut into two pieces of which one could not be embedded.
    assert np.isfinite(extract(model, source, chunk=16)).all()


def test_short_utterances_are_repeated(caplog):
    model = small()
    source = source_for(model, [4, 30, 1])
    vectors = extract(model, source)
    repeated = np.concatenate([source.read(0)] * 4)[:15]
    np.testing.assert_allclose(vectors[0], alone(model, repeated), rtol=2e-3, atol=2e-4)
    assert "2 utterances are shorter than the 15 frames" in caplog.text


def test_no_utterances():
    model = small()
    assert extract(model, source_for(model, [20]), []).shape == (0, 16)


def test_what_cannot_be_embedded():
    model = small()
    with pytest.raises(DataError, match="u1: has no frames"):
        extract(model, source_for(model, [20, 0]))
    with pytest.raises(DataError, match=r"have 24 features, the network takes 20"):
        extract(model, source_for(small("xvector"), [20]))
    source = source_for(model, [20, 30])
    source.arrays[1][3, 2] = np.nan
    with pytest.raises(DataError, match="1 embeddings are not finite, the first of u1"):
        extract(model, source)


class Broken(ArraySource):
    def _read(self, index, start, stop):
        raise DataError("u0: its file is cut")


def test_errors_of_the_reading_thread_arrive():
    model = small()
    with pytest.raises(DataError, match=r"^u0: its file is cut"):
        extract(model, Broken(["u0"], [np.zeros((20, 20))]))


def test_errors_of_the_front_end_name_the_utterance():
    arrays = [np.ones((50, 3), np.float32) for _ in range(3)]
    arrays[1][7, 1] = np.nan
    source = FrontEndSource(ArraySource(["u0", "u1", "u2"], arrays), FrontEnd(delta_order=0))
    source.read(0)
    with pytest.raises(DataError, match=r"^u1: .*NaN"):
        source.read(1)


def test_progress_is_logged(caplog, monkeypatch):
    monkeypatch.setattr("ivector.base.log.LOG_EVERY_S", 0.0)
    model = small()
    with caplog.at_level(logging.INFO):
        extract(model, source_for(model, [20, 30, 60]), show=True)
    assert "embeddings 3/3 batch" in caplog.text


# Front end


def kaldi_features(folder, silent=()):
    """feats.scp and vad.scp of four utterances."""
    rng = np.random.default_rng(1)
    with ArkWriter(folder / "feats") as feats, ArkWriter(folder / "vad") as vad:
        for i, n in enumerate([50, 80, 61, 90]):
            feats.write(f"u{i}", rng.standard_normal((n, 20)).astype(np.float32) + 5)
            voiced = (rng.random(n) < 0.7).astype(np.float32)
            vad.write(f"u{i}", voiced * (i not in silent))


def test_front_end_is_applied(tmp_path):
    kaldi_features(tmp_path)
    source = open_front_end(tmp_path / "feats.scp", tmp_path / "vad.scp")
    front_end = FrontEnd(delta_order=0)
    for i in range(4):
        static, voiced = source.source.read(i), np.unpackbits(source.voiced[i])
        voiced = voiced[: len(static)].astype(bool)
        expected = front_end.apply(static, voiced)
        assert len(expected) == source.lengths[i] == voiced.sum()
        assert np.array_equal(source.read(i), expected)
        assert np.array_equal(source.read(i, 3, 5), expected[3:8])
    whole = open_front_end(tmp_path)
    assert whole.lengths.tolist() == [50, 80, 61, 90]
    copied = in_memory(whole)
    assert copied is not whole and np.array_equal(copied.read(2), whole.read(2))
    assert in_memory(whole, 100) is whole


def test_silent_utterances_are_left_out(tmp_path):
    kaldi_features(tmp_path, silent=(1,))
    with pytest.warns(match="1 of 4 utterances have no voiced frame"):
        source = open_front_end(tmp_path, tmp_path / "vad.scp")
    assert source.ids == ["u0", "u2", "u3"]
    assert len(source.read(1)) == source.lengths[1]
    kaldi_features(tmp_path, silent=(0, 1, 2, 3))
    with pytest.raises(DataError, match="no utterance has a voiced frame"), pytest.warns():
        open_front_end(tmp_path, tmp_path / "vad.scp")


def test_decisions_of_other_features():
    with pytest.raises(DataError, match="a: has 9 frames and VAD decisions for 8"):
        FrontEndSource(ArraySource(["a"], [np.zeros((9, 2))]), FrontEnd(), [np.ones(8, bool)])


# Files and the command


def test_vectors_are_written(tmp_path):
    ids, vectors = ["a", "b"], np.array([[1.5, 2], [3, 4]], np.float32)
    write_vectors(tmp_path / "x.npz", ids, vectors)
    arrays, _ = load_model(tmp_path / "x.npz", "vectors")
    assert arrays["ids"].tolist() == ids and np.array_equal(arrays["vectors"], vectors)
    write_vectors(tmp_path / "y.scp", ids, vectors)
    for name in ("y.ark", "y.scp"):
        read, matrix = read_matrix(tmp_path / name)
        assert read == ids and np.array_equal(matrix, vectors)
    with pytest.raises(UsageError, match=r"\.npz, \.ark or \.scp"):
        write_vectors(tmp_path / "z.txt", ids, vectors)


def test_command(tmp_path, caplog):
    from dnn import extract as command

    kaldi_features(tmp_path)
    model = small()
    save_network(tmp_path / "exp" / "network", model, extra={"vad": True})
    argv = [str(tmp_path / "exp"), "--features", str(tmp_path), "--threads", "1"]
    argv += ["--out", str(tmp_path / "x.npz"), "--device", "cpu"]
    vad = ["--vad", str(tmp_path / "vad.scp")]
    assert run(command.make_parser(), command.main, [*argv, *vad]) == 0
    arrays, _ = load_model(tmp_path / "x.npz", "vectors")
    source = open_front_end(tmp_path, tmp_path / "vad.scp")
    assert arrays["ids"].tolist() == source.ids
    expected = [alone(model, source.read(i)) for i in range(4)]
    np.testing.assert_allclose(arrays["vectors"], expected, rtol=2e-3, atol=2e-4)
    assert "was trained" not in caplog.text
    assert run(command.make_parser(), command.main, argv) == 0
    assert "was trained with VAD decisions" in caplog.text


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (["--out", "x.txt"], 2, ".npz, .ark or .scp"),
        (["--chunk", "3"], 2, "shorter than the 15"),
        (["--features", "nowhere"], 1, "nowhere"),
        (["--device", "abacus"], 2, "no device"),
    ],
)
def test_command_with_mistakes(tmp_path, capsys, change, code, text):
    from dnn import extract as command

    kaldi_features(tmp_path)
    save_network(tmp_path / "network", small())
    argv = [str(tmp_path), "--features", str(tmp_path), "--out", str(tmp_path / "x.ark"), *change]
    assert run(command.make_parser(), command.main, argv) == code
    assert text in capsys.readouterr().err.splitlines()[-1]
    assert not Path("x.txt").exists()


# Curves


def test_curves(tmp_path, capsys):
    from dnn import curves

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        lines = ['{"step": 5, "loss": 2.0, "learning_rate": 0.1, "training_accuracy": 0.5}']
        lines += ['{"step": 10, "loss": 1.0, "learning_rate": 0.05}']
        lines += ['{"step": 10, "validation_eer": 0.2, "validation_accuracy": 0.4}', ""]
        (tmp_path / name / "scalars.jsonl").write_text("\n".join(lines))
    argv = [str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "c.svg")]
    assert run(curves.make_parser(), curves.main, argv) == 0
    first = (tmp_path / "c.svg").read_bytes()
    assert run(curves.make_parser(), curves.main, argv) == 0
    assert (tmp_path / "c.svg").read_bytes() == first and b"<svg" in first
    plot_curves(tmp_path / "one.png", tmp_path / "one" / "scalars.jsonl", "One")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        plot_curves(tmp_path / "c.pdf", tmp_path / "one" / "scalars.jsonl")
    with pytest.raises(UsageError, match="nothing to plot"):
        plot_curves(tmp_path / "c.png", {})
    assert run(curves.make_parser(), curves.main, [str(tmp_path), "--out", "c.png"]) == 1
    assert run(curves.make_parser(), curves.main, [argv[0], argv[0], "--out", "c.png"]) == 2
