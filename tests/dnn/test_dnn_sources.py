"""Sources of features: parts equal wholes, round trips, every defect named with file and record."""

import io
import json
import os
import pickle
import tarfile

import kaldiio
import numpy as np
import pytest
import soundfile

from dnn.data import records
from dnn.data.audio_source import AudioSource, change_speed
from dnn.data.sources import (
    ArraySource,
    KaldiSource,
    StoreSource,
    Subset,
    Transformed,
    in_memory,
    make_labels,
    normalise_features,
    normalise_frames,
    normalise_mean,
    open_features,
    pack,
)
from dnn.data.spectrogram import Spectrogram
from dnn.formats import librispeech, mapped, shards
from dnn.formats.kernels_matrices import unpack_columns
from ivector.base.errors import DataError, UsageError
from ivector.features.audio import read_audio
from ivector.features.extractors import MFCC, LogMel
from ivector.features.store import LogMelStore

RATE = 16000
KINDS = {"float": None, "speech": 2, "two bytes": 3, "one byte": 5}


def rng(seed=0):
    return np.random.default_rng(seed)


def utterances(n=5, n_features=7):
    return {
        f"u{i}": (3 * rng(i).standard_normal((20 + 9 * i, n_features))).astype(np.float32)
        for i in range(n)
    }


def write_archive(folder, arrays, compression=None):
    """An ark and its feats.scp, by kaldiio."""
    lines = []
    with open(folder / "feats.ark", "wb") as file:
        for key, array in arrays.items():
            file.write(key.encode() + b" ")
            lines.append(f"{key} {folder / 'feats.ark'}:{file.tell()}\n")
            kaldiio.save_mat(file, array, compression_method=compression)
    (folder / "feats.scp").write_text("".join(lines))
    return folder / "feats.scp"


@pytest.fixture
def audio(tmp_path):
    """Three recordings, one of them at 8 kHz."""
    paths = {}
    for i, (utt, rate) in enumerate((("a", RATE), ("b", RATE), ("c", 8000))):
        paths[utt] = tmp_path / f"{utt}.wav"
        samples = 0.1 * rng(i).standard_normal(round((1.0 + 0.37 * i) * rate))
        soundfile.write(paths[utt], samples, rate)
    return paths


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_kaldi_matrices(tmp_path, kind):
    arrays = utterances()
    path = write_archive(tmp_path, arrays, KINDS[kind])
    source = pickle.loads(pickle.dumps(KaldiSource(path)))
    reference = kaldiio.load_scp(str(path))
    assert source.ids == list(arrays) and source.n_features == 7
    for i, key in enumerate(source.ids):
        whole = reference[key]
        assert source.lengths[i] == len(whole)
        for got, expected in (
            (source.read(i), whole),
            (source.read(i, 3, 11), whole[3:14]),
            (source.read(i, len(whole)), whole[:0]),
        ):
            assert got.dtype == np.float32 and got.flags.c_contiguous and got.flags.writeable
            exact = kind in ("float", "speech")
            np.testing.assert_allclose(got, expected, rtol=0, atol=0 if exact else 1e-5)


def test_unpacking_equals_its_formula():
    codes = rng().integers(0, 256, (4, 50), dtype=np.uint8)
    knots = np.sort(rng(1).standard_normal((4, 4)), axis=1).astype(np.float32)
    out = np.empty((20, 4), np.float32)
    unpack_columns(codes, knots, 10, out)
    where = [0, 64, 192, 255]
    expected = [np.interp(codes[d, 10:30], where, knots[d]) for d in range(4)]
    np.testing.assert_allclose(out.T, expected, atol=1e-6)


def test_ranges_of_rows_in_an_scp(tmp_path):
    arrays = utterances()
    path = write_archive(tmp_path, arrays)
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}[2:9]\n" for line in lines))
    source = KaldiSource(tmp_path)
    assert set(source.lengths) == {8}  # Kaldi's ranges include the last row
    np.testing.assert_array_equal(source.read(1, 1, 3), arrays["u1"][3:6])
    path.write_text(f"{lines[0]}[2:90]\n")
    with pytest.raises(DataError, match="u0: its rows end at 90"):
        KaldiSource(path)
    path.write_text(f"{lines[0]}[:,0:2]\n")
    with pytest.raises(DataError, match="only a range of rows"):
        KaldiSource(path)


def test_doubles_and_empty_matrices(tmp_path):
    arrays = {"d": rng().standard_normal((9, 4)), "e": np.empty((0, 4))}
    source = KaldiSource(write_archive(tmp_path, arrays))
    np.testing.assert_array_equal(source.read(0), arrays["d"].astype(np.float32))
    assert source.read(1).shape == (0, 4) and list(source.lengths) == [9, 0]


def test_defects_of_archives_are_named(tmp_path):
    path = write_archive(tmp_path, utterances())
    ark = tmp_path / "feats.ark"
    whole = ark.read_bytes()
    ark.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"u4: .*feats\.ark.* 30 bytes are missing"):
        KaldiSource(path)
    ark.write_bytes(whole[: path.stat().st_size])
    with pytest.raises(DataError, match=r"u\d: .*feats\.ark"):
        KaldiSource(path)
    ark.write_bytes(b"")
    with pytest.raises(DataError, match=r"feats\.ark: is empty"):
        KaldiSource(path)
    ark.unlink()
    with pytest.raises(DataError, match=r"feats\.ark: cannot be read"):
        KaldiSource(path)
    ark.write_bytes(b"u0 " + b"PKL" + pickle.dumps([1]) + bytes(40))
    path.write_text(f"u0 {ark}:3\n")
    with pytest.raises(DataError, match="no binary Kaldi matrix"):
        KaldiSource(path)
    write_archive(tmp_path, {"u0": np.zeros((3, 4)), "u1": np.zeros((3, 5))})
    with pytest.raises(DataError, match="u1 has 5 features, u0 has 4"):
        KaldiSource(path)
    write_archive(tmp_path, {"u0": np.zeros(4)})
    with pytest.raises(DataError, match=r"u0: .*'DV' is no matrix"):
        KaldiSource(path)


def test_frames_that_are_not_there():
    source = ArraySource(["a"], [np.zeros((5, 2))])
    for start, n_frames in ((0, 6), (-1, 2), (6, None), (4, -2)):
        with pytest.raises(UsageError, match="a: frames"):
            source.read(0, start, n_frames)


@pytest.mark.parametrize("storage", ["kaldi", "float16"])
def test_parts_of_a_store(tmp_path, audio, storage):
    rows = [(utt, str(path), None, None) for utt, path in audio.items()]
    store = LogMelStore.create(tmp_path / "store", rows, storage=storage)
    source = pickle.loads(pickle.dumps(open_features(tmp_path / "store")))
    assert isinstance(source, StoreSource) and source.n_features == 40
    for i, utt in enumerate(source.ids):
        np.testing.assert_array_equal(source.read(i), store[utt])
        np.testing.assert_array_equal(source.read(i, 10, 30), store.read(utt, 10, 40))
        assert source.lengths[i] == store.n_frames(utt)
    file = next(path for path in (tmp_path / "store").iterdir() if path.suffix in (".ark", ".f16"))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(DataError, match=f"c: .*{file.name}.*make the store again"):
        open_features(tmp_path / "store").read(2)


def test_more_files_than_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "MOST_OPEN", 2)
    for i in range(5):
        (tmp_path / str(i)).write_bytes(bytes([i] * 3))
    files = mapped.MappedFiles([tmp_path / str(i) for i in range(5)])
    assert [files[i][0] for i in (0, 1, 2, 3, 4, 0, 3)] == [0, 1, 2, 3, 4, 0, 3]
    assert len(files._maps) == 2


def test_open_features_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="neither a log-mel store nor"):
        open_features(tmp_path)


def test_subset_transformed_packed_and_in_memory(tmp_path):
    arrays = utterances()
    source = ArraySource(list(arrays), list(arrays.values()))
    some = Subset.by_ids(source, ["u3", "u0"])
    assert some.ids == ["u3", "u0"] and list(some.lengths) == [47, 20]
    np.testing.assert_array_equal(some.read(0, 5, 6), arrays["u3"][5:11])
    with pytest.raises(DataError, match="utterance x has no features"):
        Subset.by_ids(source, ["u3", "x"])
    normalised = pickle.loads(pickle.dumps(Transformed(some, normalise_mean)))
    np.testing.assert_allclose(normalised.read(0, 5, 6).mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(normalised.crop(0, 5, 6, None).mean(axis=0), 0, atol=1e-6)
    with pytest.raises(UsageError, match="must keep them"):
        Transformed(source, lambda features: features[:1]).read(0)
    with pytest.raises(DataError, match="'a b' cannot be an id"):
        pack(ArraySource(["a b"], [arrays["u0"]]), tmp_path / "packed")
    for other in (pack(source, tmp_path / "packed"), in_memory(source)):
        assert other.ids == source.ids
        for i, array in enumerate(arrays.values()):
            np.testing.assert_array_equal(other.read(i), array)


def test_normalisations():
    features = (5 + 3 * rng().standard_normal((30, 4))).astype(np.float32)
    features[:, 3] = 2.0
    by_feature = normalise_features(features)
    np.testing.assert_allclose(by_feature.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(by_feature.std(axis=0), [1, 1, 1, 0], atol=1e-5)
    by_frame = normalise_frames(features)
    np.testing.assert_allclose(by_frame.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(by_frame.std(axis=1), 1, atol=1e-4)
    assert by_feature.dtype == by_frame.dtype == np.float32


def test_labels():
    utt2spk = {"u1": "b", "u2": "a", "u3": "b", "more": "c"}
    labels, speakers = make_labels(["u1", "u2", "u3"], utt2spk)
    assert speakers == ["a", "b"] and list(labels) == [1, 0, 1] and labels.dtype == np.int64
    with pytest.raises(DataError, match="utterance u4 has no speaker"):
        make_labels(["u1", "u4"], utt2spk)
    with pytest.raises(DataError, match="u1: speaker b is not among the 1 known"):
        make_labels(["u1"], utt2spk, ["a"])


EXTRACTORS = {
    "mfcc": MFCC(),
    "mfcc, mirrored": MFCC(snip_edges=False),
    "log-mel": LogMel(num_mel_bins=40, low_freq=0, window_type="hamming",
                      preemphasis_coefficient=0, flavour="torchaudio"),
    "spectrogram": Spectrogram(),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRACTORS)
def test_crops_of_audio_equal_those_of_all_features(audio, name):
    extractor = EXTRACTORS[name]
    rows = [(utt, path, None, None) for utt, path in audio.items()]
    rows.append(("d", audio["b"], 0.2, 0.9))
    source = pickle.loads(pickle.dumps(AudioSource(rows, extractor)))
    for i, (_, path, start, end) in enumerate(rows):
        samples, _ = read_audio(path, RATE, start=start, end=end)
        whole = extractor.transform(samples)
        assert source.lengths[i] == len(whole) and source.n_features == whole.shape[1]
        # A crop of a segment sees the sound around it only as far as the segment goes.
        n_last = len(whole)
        for first, count in ((0, n_last), (0, 20), (1, 20), (17, 20), (n_last - 20, 20)):
            got = source.read(i, first, count)
            if i == 2:  # resampled in parts; the filter's edges are in the frames left out
                np.testing.assert_allclose(
                    got, whole[first : first + count], atol=1e-3 * np.abs(whole).max()
                )
            else:
                np.testing.assert_array_equal(got, whole[first : first + count])


def test_speeds_are_further_speakers(audio):
    rows = [(utt, path, None, None) for utt, path in audio.items()]
    source = AudioSource(rows, MFCC(), speeds=(0.9, 1.0, 1.1))
    assert source.ids[0] == "sp0.9-a" and source.ids[3] == "a" and source.ids[6] == "sp1.1-a"
    for index, speed in ((0, 0.9), (3, 1.0), (6, 1.1)):
        whole = MFCC().transform(change_speed(read_audio(audio["a"])[0], speed))
        assert source.lengths[index] == len(whole)
        part = source.read(index, 30, 40)
        np.testing.assert_allclose(part, whole[30:70], atol=0.02 * np.abs(whole).max())
    np.testing.assert_array_equal(source.expand_labels([0, 1, 1]), [2, 3, 3, 0, 1, 1, 4, 5, 5])
    np.testing.assert_array_equal(source.expand_labels([0, 1, 1], False), [0, 1, 1] * 3)


def test_augmentation_is_for_crops_alone(audio):
    class Louder:
        stretch = 1.1

        def __call__(self, samples, generator):
            seen.append(len(samples))
            return np.resize(2 * samples, 9000)

    seen = []
    source = AudioSource([("a", audio["a"], None, None)], Spectrogram(), augment=Louder())
    assert source.draws and Subset(source, [0]).draws
    plain = source.read(0, 10, 40)
    assert not seen
    np.testing.assert_allclose(source.crop(0, 10, 40, rng()), 2 * plain, rtol=1e-5, atol=1)
    assert seen[0] >= 1.1 * 43 * 160
    assert source.crop(0, 0, 90, rng()).shape == (90, 512)  # too short after it: repeated


def test_defects_of_audio_are_named(tmp_path, audio):
    with pytest.raises(DataError, match=r"x: .*none\.wav: no such recording"):
        AudioSource([("x", tmp_path / "none.wav", None, None)], MFCC())
    (tmp_path / "text.wav").write_text("text")
    with pytest.raises(DataError, match=r"x: .*text\.wav: not audio"):
        AudioSource([("x", tmp_path / "text.wav", None, None)], MFCC())
    with pytest.raises(DataError, match=r"x: .*a\.wav: segment from 3"):
        AudioSource([("x", audio["a"], 3.0, 4.0)], MFCC())
    with pytest.raises(UsageError, match="speeds"):
        AudioSource([("x", audio["a"], None, None)], MFCC(), speeds=())
    with pytest.raises(DataError, match="no recordings"):
        AudioSource([], MFCC())


def test_spectrogram_is_the_published_one():
    samples = (1000 * rng().standard_normal(round(3.015 * RATE))).astype(np.float32)
    got = Spectrogram().transform(samples)
    assert got.shape == (300, 512) and got.dtype == np.float32
    frame = samples[160 * 7 : 160 * 7 + 400] * np.hamming(400)
    np.testing.assert_allclose(got[7], np.abs(np.fft.fft(frame, 1024))[:512], rtol=1e-3, atol=1)
    assert Spectrogram().transform(samples[:399]).shape == (0, 512)
    with pytest.raises(UsageError, match="n_fft"):
        Spectrogram(n_fft=256)


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
        "shard-000000.tar", "shard-000001.tar",
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
    for text, words in ((b"[1]", "not a JSON object"), (b'{"speaker_id": "other"}', "is other")):
        with tarfile.open(first, "w") as archive:
            for name, data in (("0/s/v/u.wav", b"RIFF"), ("0/s/v/u.json", text)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        with pytest.raises(DataError, match=words):
            shards.read_shards(first)
    with pytest.raises(DataError, match="SPEAKER/VIDEO/UTT"):
        shards.write_shards(folder, {"a": next(iter(named.values()))})


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
    assert (tmp_path / "table.csv").read_text().startswith("filename,chapter_id,speaker_id,")
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
    with pytest.raises(DataError, match=r"mapping\.json:1: not JSON"):
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
