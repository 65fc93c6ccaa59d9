"""Closed-set identification: formats, answers, the commands, the sweep, bad input."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import csv
import json
import pickle
import re
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import soundfile

from dnn.data.labelled import (
    FrontEnd,
    LabelledSet,
    _packed,
    guess_front_end,
    hold_out,
    open_labelled,
    open_unlabelled,
)
from dnn.data.mel_set import read_test, read_training
from dnn.data.records import BinaryRecords, read_classes, write_classes, write_records
from dnn.data.sources import ArraySource, Transformed, normalise_features
from dnn.data.spectrogram import Spectrogram
from dnn.embedding.export import SpeakerClassifier, load_classifier, save_network
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
from dnn.identification.sweep import Factors, plan, run_sweep, trial_name
from dnn.identification.training import IdentifierOptions, train_identifier, widened
from dnn.identify import build_parser, main
from dnn.losses.table import build_loss
from dnn.miniature import Sizes, make
from dnn.models import build
from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError

RECORD_BYTES = 4 + 4 * 512 * 300
SMALL = ("--width", "0.06", "--model-option", "n_blocks=1", "--batch-size", "12", "--threads", "1",
         "--lr", "5e-3", "--margin", "0.1", "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of three speakers, three to train on and one to test each."""
    folder = tmp_path_factory.mktemp("some records") / "set"
    make("records", folder, Sizes(3, 3, 1))
    return folder


@pytest.fixture(scope="module")
def mels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mels") / "set"
    make("mels", folder, Sizes(4, 8, 2))
    return folder


@pytest.fixture(scope="module")
def trained(mels, tmp_path_factory):
    """Training of a tiny Conformer, by the command."""
    out = tmp_path_factory.mktemp("a training")
    assert identify("train", mels, "--held-out", 2, "--out", out, "--steps", 60, *SMALL) == 0
    return out


def identify(*words):
    """Exit code of the command."""
    return run(build_parser(), main, list(map(str, words)))


def fails(capsys, code, *words):
    """The message with which the command ends."""
    assert identify(*words) == code
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("python -m dnn.identify: error: ")
    return message


def toy(n_speakers=4, n_each=6, n_features=12, seed=0):
    """Utterances whose features' mean tells the speaker."""
    rng = np.random.default_rng(seed)
    means = 2 * np.random.default_rng(9).standard_normal((n_speakers, n_features))
    labels = np.tile(np.arange(n_speakers), n_each)
    arrays = [
        (means[s] + rng.standard_normal((rng.integers(20, 40), n_features))).astype(np.float32)
        for s in labels
    ]
    source = ArraySource([f"utt{i}" for i in range(len(labels))], arrays)
    return LabelledSet(source, labels, [f"s{i}" for i in range(n_speakers)])


def tiny_classifier(n_features=12, n_classes=4):
    torch.manual_seed(3)
    model = build("conformer", n_features=n_features, dim=8, n_blocks=1, n_heads=2, kernel=3)
    loss = build_loss("softmax", model.head_dim, n_classes)
    return SpeakerClassifier(model.eval(), loss.eval(), [f"s{i}" for i in range(n_classes)])


# Miniature sets


def test_records_have_the_original_format_and_are_read_bit_for_bit(records, tmp_path):
    files = sorted(records.glob("*.bin"))
    assert [file.name for file in files] == [f"voxceleb-abridged-{n}.bin" for n in (1, 2, 3)]
    names = read_classes(records / "classes.txt")
    assert (records / "classes.txt").read_text().splitlines()[0] == f"0 {names[0]}"
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
    for wav in sorted((records / "samples").glob("*.wav")):
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
    assert data.speakers == read_classes(records / "classes.txt")


def test_recordings_are_a_set_too(records, tmp_path):
    wavs = sorted((records / "samples").glob("*.wav"))
    (tmp_path / "wav.scp").write_text("".join(f"{w.stem} {w}\n" for w in wavs))
    (tmp_path / "utt2spk").write_text("".join(f"{w.stem} {w.stem[:-2]}\n" for w in wavs))
    data = open_labelled([tmp_path], guess_front_end([tmp_path], "spectrogram"))
    record = BinaryRecords(wavs[0].with_suffix(".bin"))
    np.testing.assert_allclose(data.source.read(0), record.read(0), atol=1e-4)
    assert data.speakers == ["Generated_A", "Generated_B", "Generated_C"]
    front_end = guess_front_end([tmp_path])
    assert front_end == FrontEnd("log-mel", "mean")
    source = open_unlabelled([tmp_path], front_end)
    assert source.ids == data.source.ids and source.n_features == 40
    front_end = guess_front_end([tmp_path], "log-spectrogram", "none")
    magnitudes = Spectrogram().transform(soundfile.read(wavs[0], dtype="int16")[0].astype("f4"))
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


# Networks


@pytest.mark.parametrize("name", ["vgg-m", "conformer", "xvector", "ecapa", "resnetse34l"])
def test_a_width_scales_the_work(name):
    assert widened(name, 1.0) == {}
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in build(name, **widened(name, width)).parameters())
            for width in (0.5, 1.0, 2.0)
        ]
    assert sizes[0] < sizes[1] < sizes[2]
    with pytest.raises(UsageError, match="above 0"):
        widened(name, 0)


def test_options_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(UsageError, match="last or the best"):
        IdentifierOptions("conformer", keep="worst")
    with pytest.raises(UsageError, match="not 'triplet'"):
        IdentifierOptions("conformer", loss="triplet")
    options = IdentifierOptions("conformer", keep="best")
    with pytest.raises(UsageError, match="told by a validation"):
        train_identifier(toy(), tmp_path, options, FrontEnd("log-mel", "none"))
    with pytest.raises(UsageError, match="at least 65 frames"):
        short = IdentifierOptions("vgg-m", n_frames=20)
        train_identifier(toy(n_features=128), tmp_path, short, FrontEnd("spectrogram", "none"))


# The commands


def test_a_network_learns_to_tell_the_generated_voices(trained, mels, tmp_path, capsys):
    out = tmp_path / "test"
    assert identify("test", trained, mels, "--held-out", 2, "--out", out, "--threads", 1) == 0
    assert "top-1 %" in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert results["utterances"] == 8 and results["top1"] >= 0.6 and results["top5"] == 1
    assert results["instances_per_s"] > 0 and results["machine"]["threads"] == 1
    assert sum(n for _, n in results["by_speaker"].values()) == 8
    assert (out / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert len((out / "predictions.csv").read_text().splitlines()) == 9


def test_predictions_of_the_secret_test_set_are_mostly_right(trained, mels, tmp_path):
    assert identify("predict", trained, mels, "--crops", 2, "--out", tmp_path / "output.csv") == 0
    mine = list(csv.reader((tmp_path / "output.csv").open()))
    truth = list(csv.reader((mels / "answers.csv").open()))
    assert [row[0] for row in mine] == [row[0] for row in truth]
    assert sum(a == b for a, b in zip(mine[1:], truth[1:])) >= 5


def test_a_training_tells_its_speed_and_is_not_repeated(trained, mels):
    speed = json.loads((trained / "speed.json").read_text())
    assert speed["instances"] == 60 * 12 and speed["instances_per_s"] > 0
    names = ("network/network.safetensors", "speed.json", "scalars.jsonl")
    before = [(trained / name).read_bytes() for name in names]
    assert identify("train", mels, "--held-out", 2, "--out", trained, "--steps", 60, *SMALL) == 0
    assert before == [(trained / name).read_bytes() for name in names]
    assert load_classifier(trained / "network").speakers == read_training(mels).speakers


def test_vgg_m_trains_on_records_and_reports_instances_per_second(records, tmp_path, capsys):
    out = tmp_path / "vgg"
    common = ("--width", 0.03, "--threads", 1, "--frames", 80, "--batch-size", 3)
    options = (*common, "--steps", 3, "--held-out", 1, "--keep", "best")
    assert identify("train", records, "--out", out, *options) == 0
    speed = json.loads((out / "speed.json").read_text())
    assert speed["instances"] == 9 and speed["instances_per_s"] > 0
    assert load_classifier(out / "network").model.name == "vgg-m"
    test = ("test", out, records / "voxceleb-abridged-3.bin", "--out", out / "test")
    assert identify(*test, "--threads", 1) == 0
    assert json.loads((out / "test" / "results.json").read_text())["utterances"] == 4
    assert re.search(r"4 +\d+\.\d\d +100\.00 +\d+\.\d", capsys.readouterr().out)


# The sweep


def test_a_plan_varies_one_option_at_a_time():
    base = IdentifierOptions("conformer", loss="am", n_steps=100, n_warmup=10, batch_size=32)
    groups = plan(base, Factors([16, 64], [3e-3], [0.5], ["vgg-m"]))
    assert [o.batch_size for o in groups["Batch size"]] == [16, 32, 64]
    assert [(o.n_steps, o.n_warmup) for o in groups["Batch size"]] == [
        (200, 20),
        (100, 10),
        (50, 5),
    ]
    assert [o.rate for o in groups["Learning rate"]] == [1e-3, 3e-3]
    assert [(o.model, o.loss) for o in groups["Network"]] == [
        ("conformer", "am"),
        ("vgg-m", "softmax"),
    ]
    assert base in groups["Width"]
    names = {trial_name(o) for group in groups.values() for o in group}
    assert len(names) == 6
    with pytest.raises(UsageError, match="nothing is varied"):
        plan(base, Factors([32]))


def test_a_sweep_writes_the_report_and_trains_nothing_twice(tmp_path):
    train, test = hold_out(toy(), 2)
    base = IdentifierOptions(
        "conformer", width=0.06, network={"n_blocks": 1}, n_frames=20, batch_size=8, n_steps=8,
        device="cpu", rate=1e-2,
    )  # fmt: skip
    factors = Factors([4])
    front_end = FrontEnd("log-mel", "mean")
    assert run_sweep(train, test, tmp_path, base, front_end, factors)
    report = (tmp_path / "report.md").read_text()
    for words in ("## Batch size", "top-5", "inference (instances/s)",
                  "Processor", "4 speakers; 16 utterances to train on, 8 to test"):  # fmt: skip
        assert words in report
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", report):
        assert (tmp_path / picture).read_bytes()[:4] == b"\x89PNG"
    results = sorted(tmp_path.glob("*/result.json"))
    assert len(results) == 2
    before = [file.stat().st_mtime_ns for file in results]
    assert run_sweep(train, test, tmp_path, base, front_end, factors)
    assert before == [file.stat().st_mtime_ns for file in results]
    with pytest.raises(DataError, match="is of another sweep"):
        run_sweep(train, test, tmp_path, base, FrontEnd("log-mel", "none"), factors)


# Bad input


@pytest.mark.parametrize("rate", [1e-3, 2e30])
def test_a_trial_that_diverges_is_reported_and_the_sweep_goes_on(tmp_path, rate):
    train, test = hold_out(toy(), 2)
    base = IdentifierOptions(
        "conformer", width=0.06, network={"n_blocks": 1}, n_frames=20, batch_size=8, n_steps=4,
        device="cpu", rate=rate,
    )  # fmt: skip
    front_end, factors = FrontEnd("log-mel", "mean"), Factors(rates=[1e30])
    for _ in range(2):  # the second time from the results on disk
        assert run_sweep(train, test, tmp_path, base, front_end, factors)
        report = (tmp_path / "report.md").read_text()
        assert report.count("| diverged |") == (1 if rate < 1 else 2)
        assert "trainings diverged; the first" in report and "finite" in report
        assert ("## Hardware" in report) == (rate < 1)
        for picture in re.findall(r"!\[.*?\]\((.*?)\)", report):
            assert (tmp_path / picture).exists()


def test_a_cut_record_is_named(records, tmp_path, capsys):
    data = (records / "voxceleb-abridged-1.bin").read_bytes()
    (tmp_path / "voxceleb-abridged-1.bin").write_bytes(data[:-1000])
    message = fails(capsys, 1, "train", tmp_path, "--out", tmp_path / "out", "--threads", 1)
    assert "voxceleb-abridged-1.bin: record 3 is cut" in message


def test_labels_beyond_the_classes_are_named(records, tmp_path, capsys):
    write_classes(tmp_path / "two.txt", ["A", "B"])
    message = fails(capsys, 1, "train", records, "--classes", tmp_path / "two.txt",
                    "--out", tmp_path / "out")  # fmt: skip
    assert "has the label 2, expected a whole number from 0 to 1" in message


def test_a_pickle_bomb_is_refused(mels, trained, tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'boom')!r}, 'w').close()",))

    folder = tmp_path / "set"
    shutil.copytree(mels, folder)
    test = json.loads((folder / "testdata.json").read_text())
    with open(folder / test["utterances"][0]["feature_path"], "wb") as file:
        pickle.dump(Bomb(), file)
    out = tmp_path / "output.csv"
    assert "refused" in fails(capsys, 1, "predict", trained, folder, "--out", out)
    assert not (tmp_path / "boom").exists() and not out.exists()


def test_a_missing_feature_file_is_named(mels, tmp_path, capsys):
    folder = tmp_path / "set"
    shutil.copytree(mels, folder)
    (folder / f"uttr-{1:032x}.pt").unlink()
    message = fails(capsys, 1, "train", folder, "--out", tmp_path / "out")
    assert f"uttr-{1:032x}.pt is missing (1 of 32 are)" in message


def test_data_of_another_kind_or_speaker_are_refused(records, mels, trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert "holds spectrogram features" in fails(capsys, 1, "test", trained, records, "--out", out)
    make("mels", tmp_path / "five", Sizes(5, 1, 1))
    message = fails(capsys, 1, "test", trained, tmp_path / "five", "--out", out)
    assert "none of the network's 4" in message
    assert "holds neither" in fails(capsys, 1, "train", tmp_path, "--out", out)
    assert "not there" in fails(capsys, 1, "predict", trained, tmp_path / "no", "--out", out)
    write_classes(tmp_path / "classes.txt", ["x", "y", "z"])
    with pytest.raises(DataError, match="other classes than the network's"):
        open_labelled([records], FrontEnd("spectrogram", "none"),
                      classes=tmp_path / "classes.txt", speakers=["a", "b", "c"])  # fmt: skip
    with pytest.raises(UsageError, match=r"belongs to \.bin records"):
        open_labelled([mels], FrontEnd("log-mel", "none"), classes=tmp_path / "classes.txt")


def test_networks_that_identify_nobody_are_refused(mels, tmp_path, capsys):
    classifier = tiny_classifier()
    save_network(tmp_path / "network", *classifier)
    message = fails(capsys, 1, "test", tmp_path, mels, "--out", tmp_path / "out")
    assert "does not tell the features of an identification network" in message


def test_options_that_exclude_each_other_are_refused(mels, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    message = fails(capsys, 2, "sweep", mels, *out, "--batch-sizes", 4)
    assert "a sweep needs a --test set, or --held-out" in message
    message = fails(capsys, 2, "train", mels, *out, "--held-out", 1, "--validation", mels)
    assert "not both" in message
    assert "nothing is varied" in fails(capsys, 2, "sweep", mels, *out, "--held-out", 2)
