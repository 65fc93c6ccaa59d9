"""From a configuration to a trainer: numbers resolved, options and files to the same bytes."""

import json

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from training_cases import command, speech, write_features  # noqa: E402

from dnn import train  # noqa: E402
from dnn.configuration import PRESETS, NetworkConfig  # noqa: E402
from dnn.data.labelled import LabelledSet  # noqa: E402
from dnn.training.builder import (  # noqa: E402
    build_loss_of,
    build_model,
    build_trainer,
    margin_schedule,
    schedule_of,
    training_options,
)
from dnn.training.schedules import StepDecay, WarmupCosine  # noqa: E402
from ivector.base.cli import run  # noqa: E402
from ivector.base.errors import DataError, UsageError  # noqa: E402

SMALL = {
    "model.name": "conformer",
    "model.options": {"dim": 16, "n_blocks": 1, "n_heads": 2, "kernel": 5},
    "batches.frames": (20, 30), "batches.batch_size": 12, "training.steps": 3,
    "machine.device": "cpu",
}  # fmt: skip


def config(values=()):
    return NetworkConfig().changed({**SMALL, **dict(values)})


def data():
    return LabelledSet(*speech(), list("abcdef"))


def test_options_and_a_file_of_them_train_to_the_same_bytes(tmp_path):
    write_features(tmp_path)
    common = command(tmp_path)[2:]
    out, steps = common.index("--out") + 1, common.index("--steps")
    given = "--loss am --margin 0.3 --lr 2e-3 --schedule step --warmup 1 --average 0.5".split()
    weights = []
    for name, more in (("options", given), ("file", ["--config", str(tmp_path / "mine.json")])):
        (tmp_path / "mine.json").write_text(json.dumps({
            "loss": {"name": "am-softmax", "margin": 0.3}, "optimiser": {"average": 0.5},
            "schedule": {"name": "step", "lr": 2e-3, "warmup": 1}, "training": {"steps": 4},
        }))  # fmt: skip
        words = [*common, *more]
        words[out] = str(tmp_path / name)
        if name == "file":
            del words[steps : steps + 2]
        assert run(train.make_parser(), train.main, words) == 0
        weights.append((tmp_path / name / "network" / "network.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_library_builds_what_the_command_does(tmp_path):
    finished = [
        build_trainer(config(), data(), tmp_path / name).fit().finished for name in ("a", "b")
    ]
    weights = [(tmp_path / n / "network" / "network.safetensors").read_bytes() for n in "ab"]
    assert finished == [True, True] and weights[0] == weights[1]
    seen = []
    other = config({"training.seed": 1})
    trainer = build_trainer(other, data(), tmp_path / "c", prepare=seen.append)
    assert seen == [trainer.model] and trainer.speakers == list("abcdef")


def test_shares_of_the_training_become_steps():
    options = training_options(config({"training.steps": 310}), 10)
    assert (options.log_every, options.save_every, options.validate_every) == (6, 500, 31)
    options = training_options(config({"training.steps": 31_000}), 10)
    assert (options.log_every, options.validate_every) == (50, 3100)
    changed = {
        "training.steps": None, "training.epochs": 4.5, "training.save_every": 0.125,
        "training.log_every": 0.05, "training.validations": 0,
    }  # fmt: skip
    options = training_options(config(changed), 10)
    assert (options.n_steps, options.save_every, options.log_every) == (45, 5, 2)
    assert options.validate_every == 0
    assert training_options(config({"training.validate_every": 7}), 10).validate_every == 7
    with pytest.raises(UsageError, match="`steps`: give them, or `epochs`"):
        training_options(PRESETS["deep-speaker"].config(), 10)


def test_schedules_of_the_tasks(caplog):
    cosine = schedule_of(config(), 200, 10)
    assert isinstance(cosine, WarmupCosine) and (cosine.n_warmup, cosine.n_steps) == (10, 200)
    assert schedule_of(config({"schedule.warmup": 300}), 200, 10).n_warmup == 199
    assert "leave none of 200" in caplog.text
    thirds = schedule_of(config({"schedule.name": "step"}), 200, 10)
    assert isinstance(thirds, StepDecay) and (thirds.every, thirds.factor) == (63, 0.1)
    by_epochs = schedule_of(PRESETS["embedding"].config(), 20_000, 12)
    assert (by_epochs.every, by_epochs.factor, by_epochs.n_warmup) == (120, 0.95, 0)
    assert schedule_of(config({"schedule.name": "constant"}), 200, 10)(150) == 1e-3


def test_margins_go_to_losses_that_have_them():
    model = build_model(config(), 20)
    loss = build_loss_of(config({"loss.margin": 0.3, "loss.scale": 20}), model, 6)
    assert (loss.margin, loss.scale) == (0.3, 20)
    margin = margin_schedule(config({"loss.margin": 0.3}), loss, 15)
    assert (margin.final, margin.start, margin.end) == (0.3, 2, 6)
    steps = margin_schedule(config({"loss.margin_starts": 5, "loss.margin_stands": 9}), loss, 15)
    assert (steps.start, steps.end) == (5, 9)
    triplet = build_loss_of(config({"loss.name": "triplet", "loss.margin": 0.1}), model, 6)
    assert triplet.margin == 0.1 and margin_schedule(config(), triplet, 15) is None
    smooth = {"loss.name": "softmax", "loss.options": {"label_smoothing": 0.1}}
    assert build_loss_of(config(smooth), model, 6).label_smoothing == 0.1
    with pytest.raises(UsageError, match="softmax has no option 'mining'"):
        build_loss_of(config({**smooth, "loss.options": {"mining": "hard"}}), model, 6)


def test_what_makes_no_network_is_told(tmp_path):
    with pytest.raises(UsageError, match="`frames`: xvector-small needs crops of at least 15"):
        build_model(config({"model.name": "xvector-small", "model.options": {},
                            "batches.frames": 9}), 20)  # fmt: skip
    with pytest.raises(UsageError, match="`model`: is left to the task"):
        build_model(PRESETS["identification"].config(), 20)
    with pytest.raises(UsageError, match="conformer has no option 'channels'"):
        build_model(config({"model.options": {"channels": 3}}), 20)
    with pytest.raises(UsageError, match="compares utterances"):
        build_trainer(config({"loss.name": "ge2e"}), data(), tmp_path)
    with pytest.raises(DataError, match="a batch needs"):
        crowded = {"loss.name": "ge2e", "batches.per_speaker": 2, "batches.batch_size": 60}
        build_trainer(config(crowded), data(), tmp_path)
    half = build_model(config({"training.precision": "bfloat16"}), 20)
    convolution = half.blocks[0].convolution.depthwise.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
