"""Closed-set identification: formats, data, answers and what they are worth."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import soundfile
from identification_cases import tiny_classifier, toy

from dnn.data.labelled import (
    CLASSES,
    FrontEnd,
    _packed,
    guess_front_end,
    hold_out,
    open_labelled,
    open_unlabelled,
)
from dnn.data.mel_set import read_test, read_training
from dnn.data.records import BinaryRecords, read_classes, write_records
from dnn.data.sources import ArraySource, Transformed, normalise_features
from dnn.data.spectrogram import Spectrogram
from dnn.identification.identifier import (
    Answers,
    answer,
    plot_confusion,
    score_classes,
    top_k_accuracy,
    wilson_interval,
    worst_pairs,
    write_predictions,
)
from dnn.miniature import Sizes, make
from ivector.base.errors import DataError, UsageError

RECORD_BYTES = 4 + 4 * 512 * 300


# Miniature sets


def test_records_have_the_original_format_and_are_read_bit_for_bit(records, tmp_path):
    files = sorted(records.glob("*.bin"))
    assert [file.name for file in files] == [f"voxceleb-abridged-{n}.bin" for n in range(1, 7)]
    names = read_classes(records / CLASSES[0])
    assert (records / CLASSES[0]).read_text().splitlines()[0] == f"0 {names[0]}"
    source = BinaryRecords(files, len(names))
    assert sum(file.stat().st_size for file in files) == len(source) * RECORD_BYTES
    raw = b"".join(file.read_bytes() for file in files)
    for index in range(len(source)):
        record = raw[index * RECORD_BYTES : (index + 1) * RECORD_BYTES]
        assert np.frombuffer(record[:4], "<f4")[0] == source.labels[index]
        expected = np.frombuffer(record[4:], "<f4").reshape(512, 300)
        assert source.read(index).T.tobytes() == expected.tobytes()
    copy = ((int(source.labels[i]), source.read(i).T) for i in range(len(source)))
    write_records(tmp_path / "copy.bin", copy)
    assert (tmp_path / "copy.bin").read_bytes() == raw


def test_sample_recordings_give_the_records_beside_them(records):
    for wav in sorted((records / "samples").glob("*/*.wav")):
        samples, rate = soundfile.read(wav, dtype="int16")
        assert rate == 16000 and len(samples) == 48240
        spectrogram = normalise_features(Spectrogram().transform(samples.astype(np.float32)))
        record = BinaryRecords(wav.with_suffix(".bin"), 3)
        np.testing.assert_array_equal(record.read(0), spectrogram)


def test_miniatures_are_the_same_again_and_others_by_another_seed(records, mels, tmp_path):
    assert make("records", records, Sizes(3, 3, 1)) is False
    make("records", tmp_path / "again", Sizes(3, 3, 1))
    for file in records.glob("*.bin"):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    make("records", tmp_path / "other", Sizes(3, 3, 1, seed=5))
    first = "voxceleb-abridged-1.bin"
    assert (tmp_path / "other" / first).read_bytes() != (records / first).read_bytes()
    with pytest.raises(UsageError, match="holds something else"):
        make("mels", records, Sizes(3, 3, 1))


@pytest.mark.parametrize("variant", ["mels", "mels-csv"])
def test_mel_sets_hold_the_utterances_promised(variant, tmp_path):
    make(variant, tmp_path / "set", Sizes(2, 2, 1))
    source, labels, speakers = read_training(tmp_path / "set")
    assert source.n_features == 40 and labels.tolist() == [0, 0, 1, 1] and len(speakers) == 2
    assert [len(source.read(i)) for i in range(4)] == source.lengths.tolist()
    rows = list(csv.reader((tmp_path / "set" / "answers.csv").open()))
    assert rows[0] == ["Id", "Category"]
    assert [row[0] for row in rows[1:]] == read_test(tmp_path / "set").ids


# Data


def test_hold_out_takes_the_last_of_every_speaker():
    data = toy(3, 4)
    train, test = hold_out(data, 1)
    assert test.source.ids == ["utt9", "utt10", "utt11"] and test.labels.tolist() == [0, 1, 2]
    assert len(train.labels) == 9 and not set(train.source.ids) & set(test.source.ids)
    with pytest.raises(DataError, match="speaker s0 has 4 utterances"):
        hold_out(data, 4)


def test_front_ends_are_those_of_the_tasks(records, mels):
    assert guess_front_end([records]) == FrontEnd("spectrogram", "variance")
    assert guess_front_end([mels]) == FrontEnd("log-mel", "none")
    assert guess_front_end([mels], normalisation="mean").normalisation == "mean"
    with pytest.raises(UsageError, match="holds spectrogram features"):
        guess_front_end([records], "log-mel")


def test_records_are_normalised_over_the_crop(records):
    data = open_labelled([records], FrontEnd("spectrogram", "variance"))
    crop = data.source.read(0, 20, 100)
    np.testing.assert_allclose(crop.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(crop.std(axis=0), 1, atol=1e-4)
    assert data.speakers == read_classes(records / CLASSES[0])


def test_recordings_are_a_set_too(records, tmp_path):
    wavs = sorted((records / "samples").glob("*/*.wav"))
    (tmp_path / "wav.scp").write_text("".join(f"{w.stem} {w}\n" for w in wavs))
    (tmp_path / "utt2spk").write_text("".join(f"{w.stem} {w.parent.name}\n" for w in wavs))
    data = open_labelled([tmp_path], guess_front_end([tmp_path], "spectrogram"))
    first = next(wav for wav in wavs if wav.stem == data.source.ids[0])
    record = BinaryRecords(first.with_suffix(".bin"))
    np.testing.assert_allclose(data.source.read(0), record.read(0), atol=1e-4)
    assert data.speakers == ["Generated_A", "Generated_B", "Generated_C"]
    front_end = guess_front_end([tmp_path])
    assert front_end == FrontEnd("log-mel", "mean")
    source = open_unlabelled([tmp_path], front_end)
    assert source.ids == data.source.ids and source.n_features == 40
    front_end = guess_front_end([tmp_path], "log-spectrogram", "none")
    magnitudes = Spectrogram().transform(soundfile.read(first, dtype="int16")[0].astype("f4"))
    logarithms = open_labelled([tmp_path], front_end).source.read(0)
    np.testing.assert_allclose(logarithms, np.log1p(magnitudes), rtol=1e-5)
    assert front_end.crop_frames == 300 and guess_front_end([tmp_path]).crop_frames == 128


def test_packed_features_are_the_same_and_made_once(mels, tmp_path):
    front_end = guess_front_end([mels])
    plain = open_labelled([mels], front_end)
    packed = open_labelled([mels], front_end, pack=tmp_path / "archive")
    made = (tmp_path / "archive.ark").stat().st_mtime_ns
    again = open_labelled([mels], front_end, pack=tmp_path / "archive")
    assert (tmp_path / "archive.ark").stat().st_mtime_ns == made
    assert packed.source.ids == plain.source.ids
    for source in (packed.source, again.source):
        np.testing.assert_array_equal(source.read(3, 5, 20), plain.source.read(3, 5, 20))
    # Features of the same lengths that are others: the archive is made again.
    others = Transformed(plain.source, lambda frames: 9 * frames)
    packed = _packed(others, tmp_path / "archive")
    np.testing.assert_array_equal(packed.read(3), 9 * plain.source.read(3))


# Answers


def test_rates_count_ties_against_the_system():
    scores = np.array([[3.0, 1, 2], [1, 1, 1], [0, 2, 1], [0, 1, 2]])
    labels = np.array([0, 1, 0, 1])
    assert top_k_accuracy(scores, labels, 1) == 0.25
    assert top_k_accuracy(scores, labels, 2) == 0.5
    assert top_k_accuracy(scores, labels, 3) == 1.0
    answers = Answers(scores, 2.0, labels)
    assert answers.top5 == 1.0 and answers.rate == 2.0
    assert answers.confusion.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 0]]
    pairs = worst_pairs(answers.confusion, ["a", "b", "c"])
    assert pairs[0] == {"speaker": "a", "taken_for": "b", "utterances": 1} and len(pairs) == 3
    with pytest.raises(UsageError, match="rank"):
        top_k_accuracy(scores, labels, 4)
    with pytest.raises(DataError, match="below 3"):
        top_k_accuracy(scores, labels + 2, 1)
    with pytest.raises(DataError, match="no utterances"):
        top_k_accuracy(scores[:0], labels[:0], 1)


def test_intervals_are_wilson_s():
    for n_right, n_tests in ((15, 20), (1, 7), (500, 501)):
        for p in wilson_interval(n_right, n_tests):  # each end is 1.96 deviations of its own away
            distance = abs(n_right / n_tests - p)
            assert distance == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / n_tests))
    assert wilson_interval(0, 5)[0] == 0 and wilson_interval(5, 5)[1] == 1


def test_scores_are_log_posteriors_of_each_utterance_alone():
    data, classifier = toy(), tiny_classifier()
    scores = score_classes(classifier, data.source)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)
    with torch.inference_mode():
        for i in (0, 7):
            vector = classifier.model(torch.from_numpy(data.source.read(i))[None])
            expected = classifier.loss.logits(classifier.model.head(vector)).log_softmax(1)
            np.testing.assert_allclose(scores[i], expected[0].numpy(), atol=1e-4)


def test_crops_average_posteriors():
    data, classifier = toy(n_each=1), tiny_classifier()
    scores = score_classes(classifier, data.source, n_crops=2, crop_frames=15)
    arrays = [data.source.read(0, 0, 15), data.source.read(0, int(data.source.lengths[0]) - 15)]
    parts = score_classes(classifier, ArraySource(["first", "last"], arrays))
    np.testing.assert_allclose(np.exp(scores[0]), np.exp(parts).mean(axis=0), atol=1e-5)


def test_scores_that_are_not_finite_are_refused():
    classifier = tiny_classifier()
    with torch.no_grad():
        classifier.loss.output.bias.fill_(torch.nan)
    with pytest.raises(DataError, match="utt0: its scores are not finite"):
        answer(classifier, toy().source, toy().labels)


def test_predictions_are_csv(tmp_path):
    write_predictions(tmp_path / "out.csv", ["a.pt", "b,c"], ["id1", 'the "other"'])
    rows = list(csv.reader((tmp_path / "out.csv").open()))
    assert rows == [["Id", "Category"], ["a.pt", "id1"], ["b,c", 'the "other"']]


def test_confusions_are_drawn_without_pyplot_and_alike(tmp_path):
    matrix = np.array([[3, 1], [0, 0]])
    for name in ("a.png", "b.png", "c.svg"):
        plot_confusion(tmp_path / name, matrix, ["x_$", "y"], "title")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"<svg" in (tmp_path / "c.svg").read_bytes()
    with pytest.raises(UsageError, match="png"):
        plot_confusion(tmp_path / "d.pdf", matrix, ["x", "y"])
