"""``python -m dnn.identify``: training, test, predictions, bad input."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import csv
import json
import pickle
import re
import shutil

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from identification_cases import SMALL, fails, identify, tiny_classifier

from dnn.data.labelled import (
    FrontEnd,
    open_labelled,
)
from dnn.data.mel_set import read_training
from dnn.data.records import write_classes
from dnn.embedding.export import load_classifier, save_network
from dnn.miniature import Sizes, make
from ivector.base.errors import DataError, UsageError


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
    assert json.loads((out / "test" / "results.json").read_text())["utterances"] == 2
    assert re.search(r"2 +\d+\.\d\d +100\.00 +\d+\.\d", capsys.readouterr().out)


# Bad input


def test_a_cut_record_is_named(records, tmp_path, capsys):
    data = (records / "voxceleb-abridged-1.bin").read_bytes()
    (tmp_path / "voxceleb-abridged-1.bin").write_bytes(data[:-1000])
    message = fails(capsys, 1, "train", tmp_path, "--out", tmp_path / "out", "--threads", 1)
    assert "voxceleb-abridged-1.bin: record 1 is cut" in message


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
