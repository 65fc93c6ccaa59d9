"""Sets of the identification tasks and of Deep Speaker by writers and readers that are not ours.

They are written here from the descriptions of the original programs, with the standard library,
NumPy, pandas and torch alone: what they write is read, and what the miniatures hold they read.
"""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import csv
import json
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pandas = pytest.importorskip("pandas")
torch.set_num_threads(1)

import soundfile
from identification_cases import fails, identify, tiny_classifier

from dnn.data.labelled import FrontEnd, open_labelled, open_unlabelled
from dnn.data.mel_set import read_test, read_training
from dnn.data.spectrogram import Spectrogram
from dnn.deep_speaker import open_librispeech
from dnn.embedding.export import save_network
from dnn.formats import librispeech
from dnn.miniature import Sizes, make
from ivector.base.errors import DataError

NAMES = ["Miley_Cyrus", "Adam_Beach"]
PLAIN = FrontEnd("spectrogram", "none")


# Binary records


def write_record(file, label, spectrogram):
    """A label as a float, unless it is None, then the numbers row by row, with struct."""
    if label is not None:
        file.write(struct.pack("<f", label))
    for row in spectrogram:
        file.write(struct.pack("<300f", *row))


def read_records(path, labelled=True):
    """Labels and (512, 300) arrays as NumPy reads a flat file of floats."""
    rows = np.fromfile(path, "<f4").reshape(-1, 512 * 300 + labelled)
    return rows[:, : int(labelled)].ravel(), rows[:, int(labelled) :].reshape(-1, 512, 300)


@pytest.fixture(scope="module")
def abridged(tmp_path_factory):
    """Two big files out of order, the classes, and a sample of each speaker without label."""
    folder = tmp_path_factory.mktemp("hw3")
    rng = np.random.default_rng(1)
    data = rng.standard_normal((5, 512, 300)).astype("<f4")
    with open(folder / "voxceleb-abridged-10.bin", "wb") as file:
        write_record(file, 0, data[2])
    with open(folder / "voxceleb-abridged-2.bin", "wb") as file:
        write_record(file, 1, data[0])
        write_record(file, 0, data[1])
    lines = "".join(f"{i} {name}\n" for i, name in enumerate(NAMES))
    (folder / "voxceleb-abridged-classes.txt").write_text(lines)
    for i, name in enumerate(NAMES):
        sample = folder / "samples" / name / f"1zcIwhmdeo4_000000{i}.bin"
        sample.parent.mkdir(parents=True)
        with open(sample, "wb") as file:
            write_record(file, None, data[3 + i])
    return folder, data


def test_records_by_struct_are_read_with_the_classes_file_by_its_real_name(abridged):
    folder, data = abridged
    opened = open_labelled([folder], PLAIN)
    assert opened.speakers == NAMES and opened.labels.tolist() == [1, 0, 0]
    for i in range(3):
        np.testing.assert_array_equal(opened.source.read(i).T, data[i])


def test_samples_without_labels_are_who_their_folder_says(abridged, tmp_path):
    folder, data = abridged
    for paths in ([folder / "samples"], sorted((folder / "samples").glob("*/*.bin"))[::-1]):
        opened = open_labelled(paths, PLAIN)
        assert [opened.speakers[i] for i in opened.labels] == [
            key.split("/")[0] for key in opened.source.ids
        ]
        assert sorted(opened.source.ids) == ["Adam_Beach/1zcIwhmdeo4_0000001.bin:0",
                                             "Miley_Cyrus/1zcIwhmdeo4_0000000.bin:0"]  # fmt: skip
        for i, label in enumerate(opened.labels):
            np.testing.assert_array_equal(opened.source.read(i).T, data[3 + label])
    source = open_unlabelled([folder / "samples" / NAMES[1] / "1zcIwhmdeo4_0000001.bin"], PLAIN)
    np.testing.assert_array_equal(source.read(0).T, data[4])


def test_unlabelled_records_are_identified_and_not_tested(abridged, tmp_path, capsys):
    _, data = abridged
    network = tmp_path / "network"
    told = {**PLAIN._asdict(), "crop_frames": 300}
    classifier = tiny_classifier(512, 2)._replace(speakers=NAMES)
    save_network(network, *classifier, {"identification": told})
    unknown = tmp_path / "unreleased.bin"
    with open(unknown, "wb") as file:
        write_record(file, None, data[3])
        write_record(file, None, data[4])
    assert identify("predict", network, unknown, "--out", tmp_path / "output.csv") == 0
    answers = list(csv.reader((tmp_path / "output.csv").open()))
    assert [row[0] for row in answers] == ["Id", "unreleased.bin:0", "unreleased.bin:1"]
    message = fails(capsys, 1, "test", network, unknown, "--out", tmp_path / "test")
    assert "unreleased.bin: its records have no labels" in message and "predict" in message
    with open(unknown, "wb") as file:
        write_record(file, 1, data[3])
        write_record(file, 0, data[4])
    assert identify("test", network, unknown, "--out", tmp_path / "test") == 0
    assert json.loads((tmp_path / "test" / "results.json").read_text())["utterances"] == 2


def test_defects_of_records_are_named(abridged, tmp_path):
    _, data = abridged
    path = tmp_path / "Adam_Beach" / "x.bin"
    path.parent.mkdir()
    with open(path, "wb") as file:
        write_record(file, 0, data[0])
    (tmp_path / "classes.txt").write_text("0 Miley_Cyrus\n1 Adam_Beach\n")
    with pytest.raises(DataError, match="label 0, Miley_Cyrus, in a folder of Adam_Beach"):
        open_labelled([path], PLAIN)
    path.write_bytes(path.read_bytes() + b"12345678")
    with pytest.raises(DataError, match=r"record 1 is cut: 8 of 614404 bytes .*614400 without"):
        open_labelled([path], PLAIN)


def test_the_miniature_is_read_by_numpy_alone(records):
    pairs = [line.split() for line in
             (records / "voxceleb-abridged-classes.txt").read_text().splitlines()]  # fmt: skip
    assert [int(number) for number, _ in pairs] == [0, 1, 2]
    found = sorted(records.glob("voxceleb-abridged-*.bin"))
    assert [path.name[-5] for path in found] == list("123456")
    labels, spectrograms = map(np.concatenate, zip(*map(read_records, found)))
    assert sorted(labels) == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
    np.testing.assert_allclose(spectrograms.mean(axis=2), 0, atol=1e-5)
    samples = sorted((records / "samples").glob("*/*.wav"))
    assert len(samples) == 4 and {p.parent.name for p in samples} == {name for _, name in pairs}
    for path in samples:
        with wave.open(str(path)) as sound:
            assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (
                16000,
                2,
                1,
            )
            pcm = np.frombuffer(sound.readframes(48240), "<i2").astype(np.float32)
        _, (record,) = read_records(path.with_suffix(".bin"), labelled=False)
        frames = Spectrogram().transform(pcm)
        expected = (frames - frames.mean(axis=0)) / np.maximum(frames.std(axis=0), 1e-5)
        np.testing.assert_allclose(record, expected.T, atol=1e-5)


# Mel features


def notebook_json(folder):
    """As the notebook's data set: ([(tensor, label)], speakers, [(path, tensor)])."""
    mapping = json.loads((folder / "mapping.json").read_text())
    metadata = json.loads((folder / "metadata.json").read_text())["speakers"]
    train = [
        (torch.load(folder / row["feature_path"], weights_only=True), mapping["speaker2id"][name],
         row["mel_len"])
        for name in metadata
        for row in metadata[name]
    ]  # fmt: skip
    test = json.loads((folder / "testdata.json").read_text())
    assert test["n_mels"] == 40
    utterances = [
        (row["feature_path"], torch.load(folder / row["feature_path"], weights_only=True))
        for row in test["utterances"]
    ]
    speakers = [mapping["id2speaker"][str(i)] for i in range(len(mapping["id2speaker"]))]
    return train, speakers, utterances


def notebook_csv(folder):
    """As the variant's loader, with pandas."""
    train = pandas.read_csv(folder / "train_label.csv")
    test = pandas.read_csv(folder / "test_id.csv")
    assert list(train) == ["feat_path", "speaker_id"] and list(test) == ["feat_path"]
    assert train.speaker_id.dtype == np.int64
    assert train.feat_path.str.startswith("train/").all()
    assert test.feat_path.str.fullmatch(r"test/.+\.pt").all()
    loaded = [torch.load(folder / path, weights_only=True) for path in train.feat_path]
    n_speakers = train.speaker_id.max() + 1
    pairs = [(mel, label, len(mel)) for mel, label in zip(loaded, train.speaker_id)]
    utterances = [(p, torch.load(folder / p, weights_only=True)) for p in test.feat_path]
    return pairs, [str(i) for i in range(n_speakers)], utterances


@pytest.mark.parametrize(("kind", "reader"), [("mels", notebook_json), ("mels-csv", notebook_csv)])
def test_miniatures_are_read_by_the_notebook_s_loader(kind, reader, tmp_path):
    make(kind, tmp_path / "set", Sizes(3, 2, 1))
    train, names, test = reader(tmp_path / "set")
    assert len(train) == 6 and len(names) == 3 and len(test) == 3
    source, labels, speakers = read_training(tmp_path / "set")
    assert speakers == names and labels.tolist() == [label for _, label, _ in train]
    for i, (mel, _, length) in enumerate(train):
        assert mel.dtype == torch.float32 and mel.shape == (length, 40)
        np.testing.assert_array_equal(source.read(i), mel.numpy())
    mine = read_test(tmp_path / "set")
    assert mine.ids == [path for path, _ in test]
    for i, (_, mel) in enumerate(test):
        np.testing.assert_array_equal(mine.read(i), mel.numpy())
    answers = pandas.read_csv(tmp_path / "set" / "answers.csv", dtype={"Category": str})
    assert list(answers) == ["Id", "Category"] and set(answers.Category) == set(names)
    assert list(answers.Id) == mine.ids


def test_sets_that_torch_and_pandas_wrote_are_read(tmp_path):
    mels = [torch.randn(20 + i, 40) for i in range(12)]
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for i, mel in enumerate(mels):
            torch.save(mel, tmp_path / part / f"uttr-{i}.pt")
    table = pandas.DataFrame({
        "feat_path": [f"train/uttr-{i}.pt" for i in range(12)], "speaker_id": range(11, -1, -1)
    })  # fmt: skip
    table.to_csv(tmp_path / "train_label.csv", index=False)
    table[["feat_path"]].to_csv(tmp_path / "test_id.csv", index=False)
    (tmp_path / "test_id.csv").write_text(
        (tmp_path / "test_id.csv").read_text().replace("train/", "test/")
    )
    source, labels, speakers = read_training(tmp_path)
    assert labels.tolist() == list(table.speaker_id)  # 10 and 11 are behind 9, as numbers are
    assert (
        speakers == [str(i) for i in range(12)] and read_test(tmp_path).ids[3] == "test/uttr-3.pt"
    )
    np.testing.assert_array_equal(source.read(5), mels[5].numpy())


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("train_label.csv", "../x.pt,0\n", r"train_label\.csv: names '\.\./x\.pt'.* correct"),
        ("train_label.csv", "/etc/passwd,0\n", "not a file inside .* correct it"),
        ("train_label.csv", "train/a.pt,0\ntrain/a.pt,1\n", "train/a.pt stands there twice; take"),
        ("train_label.csv", "", "holds no utterances behind its header; fetch"),
        ("train_label.csv", "train/none.pt,0\n", r"none\.pt: feature file .* is missing .*; fetch"),
        ("test_id.csv", "../../x.pt\n", r"test_id\.csv: names .* correct it"),
        ("test_id.csv", "", "holds no utterances behind its header; fetch"),
    ],
)
def test_tables_that_lead_out_repeat_or_are_empty_are_refused(file, text, told, tmp_path):
    (tmp_path / "train").mkdir()
    torch.save(torch.zeros(20, 40), tmp_path / "train" / "a.pt")
    header = {"train_label.csv": "feat_path,speaker_id", "test_id.csv": "feat_path"}[file]
    (tmp_path / file).write_text(f"{header}\n{text}")
    with pytest.raises(DataError, match=told) as caught:
        read_training(tmp_path) if "train" in file else read_test(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["mels", "mels-csv"])
@pytest.mark.parametrize("thing", [None, torch.zeros(40), {"a": object}, b"cut"])
def test_defects_of_a_test_set_are_told_before_the_training(kind, thing, tmp_path, capsys):
    make(kind, tmp_path / "set", Sizes(2, 2, 1))
    path = Path(read_test(tmp_path / "set").paths[1])
    if thing is None:
        path.unlink()
    elif isinstance(thing, bytes):
        path.write_bytes(path.read_bytes()[:500])
    else:
        torch.save(thing, path)
    out = tmp_path / "out"
    message = fails(capsys, 1, "train", tmp_path / "set", "--out", out, "--device", "cpu")
    assert str(path) in message and (
        "fetch" in message or "expected" in message or "get" in message
    )
    assert not out.exists()


# Deep Speaker's tree and table


@pytest.fixture
def tree(tmp_path):
    """LibriSpeech's folders, with WAV by the standard library in one set and FLAC in the other."""
    rng = np.random.default_rng(3)
    for name, ending in (("train-clean-100", "wav"), ("dev-clean", "flac")):
        for speaker, chapter in (("19", "198"), ("26", "495")):
            folder = tmp_path / "LibriSpeech" / name / f"{speaker}{ending[0] == 'f':d}" / chapter
            folder.mkdir(parents=True)
            pcm = (1000 * rng.standard_normal(8000)).astype("<i2")
            path = folder / f"{folder.parent.name}-{chapter}-0000.{ending}"
            if ending == "flac":
                soundfile.write(path, pcm, 16000)
                continue
            with wave.open(str(path), "wb") as sound:
                sound.setparams((1, 2, 16000, 0, "NONE", ""))
                sound.writeframes(pcm.tobytes())
    return tmp_path / "LibriSpeech"


@pytest.mark.parametrize("column", ["filenames", "filename"])
def test_both_versions_of_the_table_are_read_as_pandas_writes_them(tree, column):
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    table = pandas.DataFrame({
        column: [str(path) for path in files],
        "chapter_id": [int(path.parts[-2]) for path in files],
        "speaker_id": [int(path.parts[-3]) for path in files],
        "dataset_id": [path.parts[-4] for path in files],
    })  # fmt: skip
    table.to_csv(tree / "all.csv")
    assert (tree / "all.csv").read_text().startswith(f",{column},chapter_id,speaker_id,dataset_id")
    whole, speakers = open_librispeech(tree)
    by_table, others = open_librispeech(tree / "all.csv")
    assert speakers == others and set(speakers.values()) == {"190", "191", "260", "261"}
    for i, key in enumerate(by_table.ids):
        np.testing.assert_array_equal(by_table.read(i), whole.read(whole.ids.index(key)))
    only, _ = open_librispeech(tree / "all.csv", ["train-clean-100"])
    assert only.ids == ["190-198-0000", "260-495-0000"]


def test_our_table_is_read_by_pandas(tree, tmp_path):
    librispeech.write_table(tmp_path / "table.csv", librispeech.read_tree(tree))
    table = pandas.read_csv(tmp_path / "table.csv", index_col=0)
    assert list(table) == ["filename", "chapter_id", "speaker_id", "dataset_id"]
    assert list(table.index) == [0, 1, 2, 3] and set(table.speaker_id) == {190, 191, 260, 261}
