"""Files that networks are trained from: records, shards, LibriSpeech, tensors; their defects."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
import soundfile
from source_cases import RATE, rng

from dnn.data import records
from dnn.data.audio_source import AudioSource
from dnn.formats import librispeech, shards
from ivector.base.errors import DataError
from ivector.features.extractors import MFCC, LogMel


def spectrograms(n, shape=(512, 300)):
    return [(i % 3, rng(i).standard_normal(shape).astype(np.float32)) for i in range(n)]


def test_binary_records_are_read_bit_for_bit(tmp_path):
    made = spectrograms(5)
    for number, part in ((2, made[:2]), (10, made[2:])):
        path = tmp_path / f"voxceleb-abridged-{number}.bin"
        assert records.write_records(path, part) == len(part)
        assert path.stat().st_size == 614_404 * len(part)
    by_hand = b"".join(np.float32(label).tobytes() + x.tobytes() for label, x in made[:2])
    assert (tmp_path / "voxceleb-abridged-2.bin").read_bytes() == by_hand
    source = pickle.loads(pickle.dumps(records.BinaryRecords(tmp_path, n_classes=3)))
    assert source.ids[1:3] == ["voxceleb-abridged-2.bin:1", "voxceleb-abridged-10.bin:0"]
    np.testing.assert_array_equal(source.labels, [label for label, _ in made])
    assert source.labels.dtype == np.int64 and source.n_features == 512
    for i, (_, spectrogram) in enumerate(made):
        assert source.spectrogram(i).tobytes() == spectrogram.tobytes()
        assert source.read(i).tobytes() == np.ascontiguousarray(spectrogram.T).tobytes()
        np.testing.assert_array_equal(source.read(i, 100, 50), spectrogram.T[100:150])


def test_defects_of_binary_records_are_named(tmp_path):
    path = tmp_path / "r-0.bin"
    sizes = {"n_bins": 4, "n_frames": 6}
    records.write_records(path, spectrograms(4, (4, 6)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"r-0\.bin: record 3 is cut: 90 of 100 bytes"):
        records.BinaryRecords(path, **sizes)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"r-0\.bin: record 2 has the label 2, .* from 0 to 1"):
        records.BinaryRecords(path, 2, **sizes)
    for bad in (0.5, -1, np.nan, np.inf):
        path.write_bytes(whole[:100] + np.float32(bad).tobytes() + whole[104:])
        with pytest.raises(DataError, match=r"r-0\.bin: record 1 has the label"):
            records.BinaryRecords(path, **sizes)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="record 0 is cut: 0 of 100"):
        records.BinaryRecords(path, **sizes)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        records.BinaryRecords([path], **sizes)
    with pytest.raises(DataError, match=r"holds no \.bin files"):
        records.BinaryRecords(tmp_path)
    with pytest.raises(DataError, match=r"record 1 has shape \(3, 3\)"):
        records.write_records(path, [(0, np.zeros((4, 6))), (0, np.zeros((3, 3)))])
    with pytest.raises(DataError, match="-1 cannot be a label"):
        records.write_records(path, [(-1, np.zeros((4, 6)))])
    assert not path.exists()


def test_classes(tmp_path):
    path = tmp_path / "classes.txt"
    records.write_classes(path, ["Miley_Cyrus", "B. Other"])
    assert path.read_text() == "0 Miley_Cyrus\n1 B. Other\n"
    assert records.read_classes(path) == ["Miley_Cyrus", "B. Other"]
    for text, words in (
        ("0 A\n2 B\n", "class 1 is missing"),
        ("0 A\n0 B\n", ":2: class 0 stands there twice"),
        ("A\n", ":1: expected 'NUMBER NAME'"),
        ("", "class 0 is missing"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            records.read_classes(path)


@pytest.fixture
def shard_folder(tmp_path, audio):
    named = {f"id1000{i}/video/{i:05d}": path for i, path in enumerate(audio.values())}
    shards.write_shards(tmp_path / "train", named, per_shard=4)
    return tmp_path / "train", named


def test_shards_are_read_where_they_lie(shard_folder):
    folder, named = shard_folder
    assert [path.name for path in sorted(folder.iterdir())] == [
        "shard-000000.tar", "shard-000001.partial.tar",
    ]  # fmt: skip
    found = shards.read_shards(folder)
    assert [row.utterance for row in found] == list(named)
    assert [row.speaker for row in found] == ["id10000", "id10001", "id10002"]
    assert tuple(found[2].description) == shards.DESCRIPTION
    assert found[2].description["sampling_rate"] == 8000
    with tarfile.open(folder / "shard-000000.tar") as archive:
        assert archive.getnames()[:2] == ["0/id10000/video/00000.wav", "0/id10000/video/00000.json"]
    rows = [(row.utterance, row.member, None, None) for row in found]
    source = pickle.loads(pickle.dumps(AudioSource(rows, MFCC())))
    files = AudioSource([(utt, path, None, None) for utt, path in named.items()], MFCC())
    for i in range(3):
        np.testing.assert_array_equal(source.read(i, 5, 50), files.read(i, 5, 50))


def test_defects_of_shards_are_named(tmp_path, shard_folder):
    folder, named = shard_folder
    first = folder / "shard-000000.tar"
    whole = first.read_bytes()
    first.write_bytes(whole[:20000])
    with pytest.raises(DataError, match=r"shard-000000\.tar: cut"):
        shards.read_shards(folder)
    first.write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match="no tar archive"):
        shards.read_shards(folder)
    first.write_bytes(whole)
    with pytest.raises(DataError, match=r"is in .* too"):
        shards.read_shards([first, first])
    with pytest.raises(DataError, match="holds no tar shards"):
        shards.read_shards(tmp_path)
    for text, words in ((b"[1]", "no JSON object"), (b'{"speaker_id": "other"}', "is other")):
        with tarfile.open(first, "w") as archive:
            for name, data in (("0/s/v/u.wav", b"RIFF"), ("0/s/v/u.json", text)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        with pytest.raises(DataError, match=words):
            shards.read_shards(first)
    with pytest.raises(DataError, match="SPEAKER/VIDEO/UTT"):
        shards.write_shards(folder, {"a/b": next(iter(named.values()))})


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["0/s/v/u.wav", "1/s/v/u.wav"], "1/s/v/u.wav stands there twice"),
        (["0/s/v/u.json", "0/s/v/u.json"], "member '0/s/v/u.json' comes twice"),
        (["0/s/../u.wav"], "points outside"),
        (["/s/v/u.wav"], "points outside"),
        (["0/s/v\x07/u.wav"], "control characters"),
        (["0/s/v/u u.wav"], "is none of IDX/SPEAKER"),
        (["0/s/u.wav"], "is none of IDX/SPEAKER"),
    ],
)
def test_members_of_shards_are_refused(tmp_path, names, told):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
    with pytest.raises(DataError) as caught:
        shards.read_shards(tmp_path)
    assert told in str(caught.value) and str(tmp_path / "s.tar") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shards_cut_between_members_or_with_a_hole_are_refused(tmp_path, shard_folder):
    shard = shard_folder[0] / "shard-000000.tar"
    with tarfile.open(shard) as archive:
        members = archive.getmembers()
    whole, second = shard.read_bytes(), members[2].offset
    shard.write_bytes(whole[:second])  # as if two of its four files had been all
    with pytest.raises(DataError, match=rf"cut within or after {members[1].name}"):
        shards.read_shards(shard)
    shard.write_bytes(whole[:second] + bytes(1024) + whole[second + 1024 :])
    with pytest.raises(DataError, match=rf"damaged after {members[1].name}"):
        shards.read_shards(shard)


def make_tree(root, audio):
    samples, _ = soundfile.read(audio["a"])
    for name in ("train/19/198/19-198-0000", "train/19/198/19-198-0001", "test/26/495/26-495-0000"):
        path = root / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, RATE)
    (root / "train/19/198/19-198.trans.txt").write_text("19-198-0000 WORDS\n")


def test_librispeech_tree_and_table(tmp_path, audio):
    make_tree(tmp_path / "LibriSpeech", audio)
    found = librispeech.read_tree(tmp_path)
    assert [row.utterance for row in found] == ["19-198-0000", "19-198-0001", "26-495-0000"]
    assert found[2][1:4] == ("26", "495", "test")
    assert [row.dataset for row in librispeech.read_tree(tmp_path, ["train"])] == ["train"] * 2
    assert librispeech.read_tree(tmp_path / "LibriSpeech" / "test")[0].dataset == "test"
    librispeech.write_table(tmp_path / "table.csv", found)
    assert (
        (tmp_path / "table.csv")
        .read_text()
        .startswith(",filename,chapter_id,speaker_id,dataset_id\n0,")
    )
    assert librispeech.read_table(tmp_path / "table.csv") == found
    with pytest.raises(DataError, match="no recordings of the set dev"):
        librispeech.read_tree(tmp_path, ["dev", "test"])
    with pytest.raises(DataError, match="holds no SET"):
        (tmp_path / "empty").mkdir()
        librispeech.read_tree(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        librispeech.read_tree(tmp_path / "none")
    (tmp_path / "table.csv").write_text("filename,speaker_id\n")
    with pytest.raises(DataError, match="no column chapter_id"):
        librispeech.read_table(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text("filename,chapter_id,speaker_id,dataset_id\na.flac,1\n")
    with pytest.raises(DataError, match=":2: expected"):
        librispeech.read_table(tmp_path / "table.csv")


@pytest.mark.corpora
def test_librispeech_as_published(corpora):
    found = librispeech.read_tree(corpora / "librispeech_test_other")
    assert len(found) == 100 and len({row.speaker for row in found}) == 10
    source = AudioSource(
        [(row.utterance, row.path, None, None) for row in found[:3]], LogMel(num_mel_bins=64)
    )
    assert source.read(0, 0, 160).shape == (160, 64)


class Bomb:
    """What a pickle can do: call a function of its choice when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("variant", ["json", "csv"])
def test_sets_of_tensors(tmp_path, variant):
    pytest.importorskip("torch")
    from dnn.data import mel_set

    train = {
        f"id{s:05d}": [
            rng(10 * s + i).standard_normal((30 + i, 40)).astype(np.float32) for i in range(3)
        ]
        for s in (7, 3)
    }
    test = [rng(i).standard_normal((20 + i, 40)).astype(np.float32) for i in range(2)]
    ids = mel_set.write_set(tmp_path, train, test, variant)
    found = mel_set.read_training(tmp_path)
    assert found.speakers == ["id00003", "id00007"]
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
    source = pickle.loads(pickle.dumps(found.source))
    np.testing.assert_array_equal(source.lengths, [30, 31, 32] * 2)
    np.testing.assert_array_equal(source.read(4, 5, 10), train["id00007"][1][5:15])
    tests = mel_set.read_test(tmp_path)
    assert tests.ids == ids and tests.n_features == 40
    np.testing.assert_array_equal(tests.read(1), test[1])
    os.remove(tests.paths[1])
    with pytest.raises(DataError, match=rf"{ids[1]}: feature file .* \(1 of 2 are\)"):
        mel_set.read_test(tmp_path)


def test_defects_of_tensor_sets_are_named(tmp_path):
    pytest.importorskip("torch")
    from dnn.data import mel_set

    features = np.zeros((30, 40), np.float32)
    mel_set.write_set(tmp_path, {"a": [features], "b": [features]}, [features])

    def refuses(name, change, words):
        path = tmp_path / name
        kept = path.read_text()
        table = json.loads(kept)
        change(table)
        path.write_text(json.dumps(table))
        with pytest.raises(DataError, match=words):
            mel_set.read_test(tmp_path)
            mel_set.read_training(tmp_path).source.read(0)
        path.write_text(kept)

    refuses("mapping.json", lambda t: t["speaker2id"].pop("b"), "speaker b is not in")
    refuses("mapping.json", lambda t: t["speaker2id"].update(b=2), "must number the speakers")
    refuses("mapping.json", lambda t: t["id2speaker"].update({"1": "a"}), "contradicts")
    refuses("mapping.json", lambda t: t.pop("id2speaker"), "has no id2speaker")
    refuses("metadata.json", lambda t: t.update(n_mels=39), "has 40 features, expected 39")
    refuses("metadata.json", lambda t: t.update(n_mels=0), "n_mels must be at least 1")
    refuses("metadata.json", lambda t: t["speakers"]["a"][0].update(mel_len=31), "has 30 frames")
    refuses("metadata.json", lambda t: t["speakers"]["a"][0].pop("mel_len"), "speaker a, utterance")
    refuses("testdata.json", lambda t: t.update(utterances=[7]), "utterance 0: expected")
    (tmp_path / "mapping.json").write_text("{")
    with pytest.raises(DataError, match=r"mapping\.json: not a description .*line 1 column 2"):
        mel_set.read_training(tmp_path)
    for read in (mel_set.read_training, mel_set.read_test):
        with pytest.raises(DataError, match="holds neither"):
            read(tmp_path / "elsewhere")
    (tmp_path / "train_label.csv").write_text("Id,Category\nx,\n")
    (tmp_path / "metadata.json").unlink()
    with pytest.raises(DataError, match=r"train_label\.csv:2"):
        mel_set.read_training(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    from dnn.formats.tensors import read_tensor

    path, sprung = tmp_path / "bomb.pt", tmp_path / "sprung"
    torch.save(Bomb(sprung), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"bomb\.pt: refused: it names \w+\.mkdir"):
        read_tensor(path)
    path.write_bytes(pickle.dumps(Bomb(sprung), protocol=2))
    with pytest.raises(DataError, match=r"bomb\.pt: refused"):
        read_tensor(path)
    assert not sprung.exists()


def test_other_defects_of_tensors_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    from dnn.formats.tensors import read_tensor, write_tensor

    path = tmp_path / "x.pt"
    write_tensor(path, np.ones((3, 4)))
    np.testing.assert_array_equal(read_tensor(path), np.ones((3, 4), np.float32))
    whole = path.read_bytes()
    for size in (0, 1, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"x\.pt: .*damaged"):
            read_tensor(path)
    for thing in ({"a": 1}, torch.zeros(3), torch.zeros(2, 2, dtype=torch.complex64)):
        torch.save(thing, path)
        with pytest.raises(DataError, match=r"x\.pt: holds .*expected a tensor"):
            read_tensor(path)
    torch.save(torch.ones(2, 3, dtype=torch.float16).T, path)
    got = read_tensor(path)
    assert got.dtype == np.float32 and got.shape == (3, 2) and got.flags.c_contiguous
    path.unlink()
    with pytest.raises(DataError, match=r"x\.pt: cannot be read"):
        read_tensor(path)
