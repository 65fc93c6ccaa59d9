"""Embeddings by networks in ONNX files: numbers, kinds of input, bad networks and recordings."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import soundfile
from onnx import helper
from onnx_cases import N_DIMS, of_features, of_samples, weights, with_weights_in, write

from dnn.embed import main, make_parser
from dnn.embedders.front_ends import FRONT_ENDS
from dnn.embedding.trials import read_vectors
from ivector.base.cli import run
from plda import read_ids_vectors

RATE = 16000


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype("f4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four recordings of two speakers."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("ann/1", "ann/2 b", "bob/1", "bob/2")):
        path = tmp_path / "audio" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(0.5 + 0.1 * number, number), RATE, "FLOAT")
    return tmp_path


IDS = ["ann-1", "ann-2_b", "bob-1", "bob-2"]


def embed(*words):
    return run(make_parser(), main, [*map(str, words)])


def told(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


@pytest.mark.parametrize("front_end", ["wespeaker", "3d-speaker", "speechbrain"])
def test_vectors_are_the_network_s_of_the_front_end(folder, front_end):
    model = of_features(folder / "m.onnx")
    assert embed("--onnx", model, "--front-end", front_end, "audio", "--out", "x.npz") == 0
    ids, vectors = read_ids_vectors("x.npz")
    assert ids == IDS and vectors.shape == (4, N_DIMS)
    for number, row in enumerate(vectors):
        samples = noise(0.5 + 0.1 * number, number) * 32768
        features = FRONT_ENDS[front_end].compute(samples, RATE, 80)
        assert len(features) >= 48 and abs(features.mean(axis=0)).max() < 1e-4
        np.testing.assert_allclose(row, np.abs(features @ weights(80)).mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("shape", [("B", "N"), ("B", 1, "N"), (1, "N"), (None, None)])
def test_of_samples(folder, shape):
    model = of_samples(folder / "m.onnx", shape)
    assert embed("--onnx", model, "--front-end", "waveform", "audio", "--out", "x.ark") == 0
    ids, vectors = read_vectors("x.ark")
    assert list(ids) == IDS
    frames = np.lib.stride_tricks.sliding_window_view(noise(0.5), 400)[::160]
    np.testing.assert_allclose(vectors[0], np.abs(frames @ weights(400)).mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "axis", "bins"),
    [(("B", 80, "T"), 2, 80), ((1, "T", 40), 1, 40), ((None, None, None), 1, 80)],
)
def test_bins_and_their_axis_are_the_network_s(folder, shape, axis, bins):
    model = of_features(folder / "m.onnx", shape, axis, bins)
    assert embed("--onnx", model, "--front-end", "wespeaker", "audio", "--out", "x.npz") == 0
    features = FRONT_ENDS["wespeaker"].compute(noise(0.5) * 32768, RATE, bins)
    expected = np.abs(features @ weights(bins)).mean(axis=0)
    np.testing.assert_allclose(read_ids_vectors("x.npz")[1][0], expected, rtol=1e-4)


def test_whatever_names_the_recordings(folder):
    model = of_features(folder / "m.onnx")
    files = [folder / "audio" / name for name in ("ann/1.wav", "ann/2 b.wav", "bob/1.wav")]
    (folder / "wav.scp").write_text("".join(f"{n} {file}\n" for n, file in enumerate(files)))
    (folder / "list").write_text("".join(f"{file}\n" for file in files[:2]))
    (folder / "data").mkdir()
    (folder / "data" / "wav.scp").write_text(f"r {files[0]}\n")
    (folder / "data" / "segments").write_text("u r 0.1 0.4\n")
    (folder / "data" / "utt2spk").write_text("u ann\n")
    found = {}
    for given in ("audio", "wav.scp", "list", "data", "audio/ann/1.wav"):
        words = ("--onnx", model, "--front-end", "3d-speaker", given, "--out", "x.npz")
        assert embed(*words) == 0
        found[given] = dict(zip(*read_ids_vectors("x.npz")))
    assert [*found["wav.scp"]] == ["0", "1", "2"]
    assert [*found["list"]] == ["1", "2_b"] and [*found["data"]] == ["u"]
    whole = found["audio"]["ann-1"]
    for rows in (found["wav.scp"]["0"], found["list"]["1"], found["audio/ann/1.wav"]["1"]):
        assert np.array_equal(rows, whole)
    assert not np.allclose(found["data"]["u"], whole, rtol=0.02)


def test_processes_change_no_vector(folder):
    model = of_features(folder / "m.onnx")
    words = ("--onnx", model, "--front-end", "wespeaker", "audio")
    assert embed(*words, "--out", "1.npz") == embed(*words, "--nj", 2, "--out", "2.npz") == 0
    assert (folder / "1.npz").read_bytes() == (folder / "2.npz").read_bytes()


# Recordings


@pytest.fixture
def defects(folder):
    """Recordings that cannot be embedded, beside the four good ones."""
    soundfile.write(folder / "audio/short.wav", noise(0.02), RATE)
    soundfile.write(folder / "audio/silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "audio/stereo.wav", np.column_stack([noise(1)] * 2), RATE)
    (folder / "audio/text.wav").write_text("no audio")
    return {
        "short": "shorter than one frame", "silent": "every sample is zero",
        "stereo": "has 2 channels", "text": "",
    }  # fmt: skip


def test_bad_recordings_are_skipped_and_counted(folder, defects, caplog):
    words = ("--onnx", of_features(folder / "m.onnx"), "--front-end", "wespeaker", "audio")
    assert embed(*words, "--out", "x.npz") == 0
    assert read_ids_vectors("x.npz")[0] == IDS
    assert "4 recordings skipped, for example " in caplog.text
    skipped = dict(line.split(" ", 1) for line in (folder / "x.skipped").read_text().splitlines())
    assert skipped.keys() == defects.keys()
    assert all(why in skipped[key] for key, why in defects.items())
    assert embed(*words, "--out", "x.npz", "--channel", "mean") == 0
    assert read_ids_vectors("x.npz")[0] == [*IDS, "stereo"]


def test_strict_stops_and_leaves_nothing(folder, defects, capsys):
    words = ("--onnx", of_features(folder / "m.onnx"), "--front-end", "wespeaker", "audio")
    assert embed(*words, "--strict", "--out", "x.npz") == 1
    assert "short: " in told(capsys)
    assert not [*folder.glob("*x*.npz*")] and not (folder / "x.skipped").exists()


def test_what_the_network_itself_refuses_is_a_bad_recording(folder, capsys):
    soundfile.write(folder / "audio/short.wav", noise(0.2), RATE)
    model = of_samples(folder / "m.onnx", kernel=6000)
    assert embed("--onnx", model, "--front-end", "waveform", "audio", "--out", "x.npz") == 0
    assert read_ids_vectors("x.npz")[0] == IDS
    assert "cannot take its 3200 samples" in (folder / "x.skipped").read_text()
    (folder / "few").mkdir()
    (folder / "audio/short.wav").rename(folder / "few/short.wav")
    assert embed("--onnx", model, "--front-end", "waveform", "few", "--out", "y.npz") == 1
    assert "no recording could be embedded, for example short: " in told(capsys)


def test_an_embedding_that_is_not_finite(folder):
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Add", ["m", "c"], ["s"]),
        helper.make_node("Sqrt", ["s"], ["embs"]),
    ]
    tenth = [("c", np.array([0.1], np.float32))]
    model = write(folder / "m.onnx", nodes, [("x", ("B", "N"))], [("embs", ("B", 1))], tenth)
    soundfile.write(folder / "audio/low.wav", noise(1) - 0.5, RATE)
    assert embed("--onnx", model, "--front-end", "waveform", "audio", "--out", "x.npz") == 0
    ids, vectors = read_ids_vectors("x.npz")
    assert ids == IDS and abs(vectors - 0.1**0.5).max() < 0.05
    assert (folder / "x.skipped").read_text() == "low its embedding is not finite\n"


def test_two_recordings_of_one_id(folder, capsys):
    (folder / "list").write_text("audio/ann/1.wav\naudio/bob/1.wav\n")
    model = of_features(folder / "m.onnx")
    assert embed("--onnx", model, "--front-end", "wespeaker", "list", "--out", "x.npz") == 1
    assert "would both have the id 1" in told(capsys)


# Networks


def two_inputs(path):
    nodes = [helper.make_node("Add", ["x", "y"], ["embs"])]
    both = [("x", ("B", "T", 80)), ("y", ("B", "T", 80))]
    return write(path, nodes, both, [("embs", ("B", "T", 80))])


def two_outputs(path):
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])]
    shape = ("B", "T", 80)
    return write(path, nodes, [("x", shape)], [("a", shape), ("b", shape)])


def of_frames(path):
    nodes = [helper.make_node("Abs", ["x"], ["embs"])]
    return write(path, nodes, [("x", ("B", "T", 80))], [("embs", ("B", "T", 80))])


def text(path):
    path.write_text("no network")
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def cut(path):
    content = of_features(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def operator_of_nobody(path):
    nodes = [helper.make_node("Nobody", ["x"], ["embs"])]
    return write(path, nodes, [("x", ("B", "T", 80))], [("embs", ("B", 5))])


def elsewhere(path):
    return with_weights_in(path, "../stolen")


def absolute(path):
    return with_weights_in(path, str(path.parent / "w"))


def missing(path):
    with_weights_in(path, "w")
    (path.parent / "w").unlink()
    return path


def linked(path):
    with_weights_in(path, "w")
    (path.parent / "w").rename(path.parent.parent / "w")
    (path.parent / "w").symlink_to(path.parent.parent / "w")
    return path


BAD = {
    two_inputs: "has 2 inputs (x, y) where one is expected",
    two_outputs: "has 2 outputs (a, b) where one is expected",
    of_frames: "where one vector is expected",
    text: "not a network in ONNX",
    empty: "holds no network",
    cut: "m.onnx: ",
    operator_of_nobody: "cannot load it",
    elsewhere: "'../stolen', which is not a file inside",
    absolute: "which is not a file inside",
    missing: "its weights are in ",
    linked: "'w', which leads out of its folder",
    lambda path: of_features(path, ("B", 200, 80)): "recordings of 200 frames alone",
    lambda path: of_features(path, ("B", 80, 200), 2): "alone; export it with a free axis",
    lambda path: of_features(path, (8, "T", 80)): "batches of 8 alone",
    of_samples: "takes (B, N), not features",
    lambda path: path: "No such file",
}


@pytest.mark.parametrize("make", BAD)
def test_bad_networks_are_refused_in_one_line(folder, make, capsys):
    (folder / "inner").mkdir()
    model = make(folder / "inner" / "m.onnx")
    assert embed("--onnx", model, "--front-end", "3d-speaker", "audio", "--out", "x.npz") == 1
    line = told(capsys)
    assert BAD[make] in line and str(model) in line
    assert not (folder / "x.npz").exists()


def test_samples_are_no_features(folder, capsys):
    model = of_features(folder / "m.onnx")
    assert embed("--onnx", model, "--front-end", "waveform", "audio", "--out", "x.npz") == 1
    assert "takes (B, T, 80), not samples" in told(capsys)


def test_weights_beside_the_network_are_read(folder):
    alone, model = of_features(folder / "a.onnx"), with_weights_in(folder / "m.onnx", "part/w")
    for path, out in ((alone, "a.npz"), (model, "b.npz")):
        words = ("--onnx", path, "--front-end", "wespeaker", "audio", "--out", out)
        assert embed(*words) == 0
    assert np.array_equal(read_ids_vectors("a.npz")[1], read_ids_vectors("b.npz")[1])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--front-end", "nobody"), "invalid choice"),
        ((), "--front-end"),
        (("--front-end", "wespeaker", "--out", "x.txt"), "ends in .npz, .ark or .scp"),
        (("--front-end", "wespeaker", "--channel", "left"), "--channel"),
    ],
)
def test_bad_options(folder, words, error, capsys):
    with_out = words if "--out" in words else (*words, "--out", "x.npz")
    given = ["--onnx", "m.onnx", "audio", *with_out]
    try:
        assert run(make_parser(), main, given) == 2
    except SystemExit as told_by_parser:
        assert told_by_parser.code == 2
    assert error in capsys.readouterr().err


# Front ends, of a signal of whole numbers: kaldi-native-fbank 1.23.0 (`FbankOptions` with dither 0,
# energy_floor 0, 80 bins, the window, of x or x / 32768) and SpeechBrain 1.1.2 (`Fbank(n_mels=80)`,
# `InputNormalization(norm_type="sentence", std_norm=False)`, of x / 32768), minus their means.

GOLDEN = {
    "wespeaker": (
        198,
        [
            [7.3244, 5.3647, 5.9146, 6.9463, 9.2661],
            [5.7335, 13.5193, 6.193, 7.2069, 7.9043],
            [7.025, 6.9433, 5.7903, 7.8818, 8.5683],
            [-20.1286, -22.5548, -24.4865, -24.4008, -25.4974],
            [6.7078, 5.4311, 14.2375, 8.3248, 8.3999],
        ],
    ),
    "3d-speaker": (
        198,
        [
            [1.8934, 0.3162, 0.7916, 1.9191, 4.2244],
            [1.6806, 8.6845, 1.0707, 2.1622, 2.8645],
            [0.1251, 0.0083, 0.7225, 2.8655, 3.5298],
            [-2.8997, -6.682, -8.7718, -8.6522, -9.7526],
            [0.0338, 0.2078, 9.1917, 3.2842, 3.3646],
        ],
    ),
    "speechbrain": (
        201,
        [
            [32.6379, 17.8831, -1.358, 3.9306, 11.4614],
            [-1.1597, 44.4251, -1.9674, 9.3866, 10.5291],
            [3.6974, 2.1292, 4.6024, 7.5126, 10.5356],
            [-21.3351, -31.6508, -34.1456, -30.3102, -31.7187],
            [2.0882, 9.4779, 43.8003, 9.4501, 7.0659],
            [15.3192, 12.5324, 21.3919, 13.7437, 8.1337],
        ],
    ),
}


def signal():
    """Two seconds, of which half a second is silence."""
    n = np.arange(2 * RATE)
    tone = 3000 * np.sin(2 * np.pi * (200 + 0.02 * n) * n / RATE)
    x = np.rint(tone + np.random.default_rng(0).integers(-300, 300, len(n)))
    x[RATE : 3 * RATE // 2] = 0
    return x.astype(np.float32)


@pytest.mark.parametrize("name", GOLDEN)
def test_front_ends_are_those_of_the_toolkits(name):
    features = FRONT_ENDS[name].compute(signal(), RATE, 80)
    n_frames, rows = GOLDEN[name]
    assert features.shape == (n_frames, 80)
    np.testing.assert_allclose(features[::40, ::16], rows, rtol=0, atol=2e-3)
