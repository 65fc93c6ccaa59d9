"""Sources of features: parts equal wholes, every defect named with its file."""

import pickle

import kaldiio
import numpy as np
import pytest
import soundfile
from source_cases import KINDS, RATE, rng, utterances, write_archive

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
from dnn.formats import mapped
from dnn.formats.kernels_matrices import unpack_columns
from ivector.base.errors import DataError, UsageError
from ivector.features.audio import read_audio
from ivector.features.extractors import MFCC, LogMel
from ivector.features.store import LogMelStore


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


def test_a_silent_file_is_not_taken_for_samples_in_one(tmp_path):
    path, extractor = tmp_path / "silent.wav", LogMel()
    silence = 1e-6 * np.random.default_rng(0).standard_normal(RATE)
    soundfile.write(path, silence, RATE, subtype="FLOAT")
    source = AudioSource([("a", path, None, None)], extractor)
    expected = LogMel(full_scale=32768).transform(read_audio(path)[0])
    np.testing.assert_array_equal(source.read(0, 0, 98), expected)
    assert extractor.full_scale is None  # the caller's is as it was


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
    with pytest.raises(DataError, match=r"x: .*none\.wav: cannot be read: No such file"):
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
