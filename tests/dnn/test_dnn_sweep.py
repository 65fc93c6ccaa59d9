"""Options of identification networks, and sweeps over them."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import re

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from identification_cases import toy

from dnn.configuration import PRESETS
from dnn.data.labelled import (
    FrontEnd,
    hold_out,
)
from dnn.identification.sweep import Factors, plan, run_sweep, trial_name
from dnn.identification.training import complete, told, train_identifier
from dnn.models import build
from dnn.models.widths import widened
from ivector.base.errors import DataError, UsageError

SMALL_CONFORMER = {
    "model.name": "conformer", "model.width": 0.06, "model.options": {"n_blocks": 1},
    "batches.frames": 20, "batches.batch_size": 8, "machine.device": "cpu",
}  # fmt: skip


def identification(values=()):
    """The task's configuration, changed."""
    return PRESETS["identification"].config().changed(dict(values))


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
    front_end = FrontEnd("log-mel", "none")
    with pytest.raises(UsageError, match="last or the best"):
        train_identifier(toy(), tmp_path, identification(), front_end, keep="worst")
    with pytest.raises(UsageError, match="not 'triplet'"):
        train_identifier(toy(), tmp_path, identification({"loss.name": "triplet"}), front_end)
    with pytest.raises(UsageError, match="told by a validation"):
        train_identifier(toy(), tmp_path, identification(), front_end, keep="best")
    with pytest.raises(UsageError, match="at least 65 frames"):
        short = identification({"model.name": "vgg-m", "batches.frames": 20})
        train_identifier(toy(n_features=128), tmp_path, short, FrontEnd("spectrogram", "none"))


def test_what_is_left_to_the_data_is_chosen_by_their_features():
    spectrogram = complete(identification(), FrontEnd("spectrogram", "variance"))
    assert spectrogram.model.name == "vgg-m" and spectrogram.loss.name == "softmax"
    assert spectrogram.batches.frames == (300,)
    chosen = complete(identification({"batches.frames": 90}), FrontEnd("log-mel", "none"))
    assert chosen.model.name == "conformer" and chosen.loss.name == "am-softmax"
    assert chosen.batches.frames == (90,) and chosen.features.normalisation == "none"


# The sweep


def test_what_is_told_of_a_configuration_is_as_ever():
    usual = complete(identification(), FrontEnd("log-mel", "mean"))
    assert told(usual) == {
        "model": "conformer", "width": 1.0, "network": {}, "loss": "am", "margin": 0.2,
        "n_frames": 128, "batch_size": 64, "epochs": 30, "n_steps": None, "rate": 1e-3,
        "n_warmup": None, "optimiser": "adamw", "weight_decay": 0.01, "mask": False,
        "precision": "auto", "keep": "last", "device": "auto", "n_workers": 0,
        "n_validations": 10, "save_every": 500, "seed": 0,
    }  # fmt: skip
    other = usual.changed({"model.pooling": "average", "machine.threads": 3, "schedule.warmup": 7})
    changed = {"model.pooling": "average", "n_warmup": 7, "keep": "best"}
    assert told(other, "best") == {**told(usual), **changed}


def test_a_plan_varies_one_option_at_a_time():
    base = identification({
        "model.name": "conformer", "loss.name": "am", "training.steps": 100,
        "schedule.warmup": 10, "batches.batch_size": 32,
    })  # fmt: skip
    groups = plan(base, Factors([16, 64], [3e-3], [0.5], ["vgg-m"]))
    sizes = groups["Batch size"]
    assert [c.batches.batch_size for c in sizes] == [16, 32, 64]
    assert [(c.training.steps, c.schedule.warmup) for c in sizes] == [(200, 20), (100, 10), (50, 5)]
    assert [c.loss.margin_stands for c in sizes] == [0.4] * 3  # a share stays one
    assert [c.schedule.lr for c in groups["Learning rate"]] == [1e-3, 3e-3]
    assert [(c.model.name, c.loss.name) for c in groups["Network"]] == [
        ("conformer", "am-softmax"),
        ("vgg-m", "softmax"),
    ]
    fixed = plan(base, Factors(models=["vgg-m"]), fixed_loss=True)["Network"]
    assert [c.loss.name for c in fixed] == ["am-softmax"] * 2
    assert base in groups["Width"]
    names = {trial_name(c) for group in groups.values() for c in group}
    assert len(names) == 6
    with pytest.raises(UsageError, match="nothing is varied"):
        plan(base, Factors([32]))


def test_a_sweep_writes_the_report_and_trains_nothing_twice(tmp_path):
    train, test = hold_out(toy(), 2)
    base = identification({**SMALL_CONFORMER, "training.steps": 8, "schedule.lr": 1e-2})
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


@pytest.mark.parametrize("rate", [1e-3, 4e18])
def test_a_trial_that_diverges_is_reported_and_the_sweep_goes_on(tmp_path, rate):
    train, test = hold_out(toy(), 2)
    base = identification({**SMALL_CONFORMER, "training.steps": 4, "schedule.lr": rate})
    front_end, factors = FrontEnd("log-mel", "mean"), Factors(rates=[2e18])
    for _ in range(2):  # the second time from the results on disk
        assert run_sweep(train, test, tmp_path, base, front_end, factors)
        report = (tmp_path / "report.md").read_text()
        assert report.count("| diverged |") == (1 if rate < 1 else 2)
        assert "trainings diverged; the first" in report and "finite" in report
        assert ("## Hardware" in report) == (rate < 1)
        for picture in re.findall(r"!\[.*?\]\((.*?)\)", report):
            assert (tmp_path / picture).exists()
