"""The configuration: declarations, files and their mistakes, options of commands, presets."""

import argparse
import json
import pickle
import sys
from pathlib import Path

import pytest

from dnn import deep_speaker, identify, train
from dnn.configuration import FIELDS, PRESETS, NetworkConfig, configure, read_config, write_config
from dnn.configuration.options import add_options, option_names
from dnn.configuration.sections import NORMALISATIONS, check_together
from ivector.base.errors import DataError, UsageError
from recipes import train_embedding

ROOT = Path(__file__).resolve().parents[2]
PLAIN, STEP = PRESETS["train"], PRESETS["xvector"]
tomllib = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of Python 3.11")


def parse(preset, *words):
    parser = argparse.ArgumentParser()
    add_options(parser, preset)
    return configure(parser.parse_args([str(word) for word in words]), preset)


# Declarations


@pytest.mark.parametrize("key", FIELDS)
def test_every_field_says_what_it_takes_and_why(key):
    declared = FIELDS[key]
    assert declared.why and "\n" not in declared.why and not declared.why.endswith(".")
    default = NetworkConfig()[key]
    assert declared.check(default) == default
    with pytest.raises(ValueError, match="takes"):
        declared.check(object())
    if declared.choices is not None:
        with pytest.raises(ValueError, match="one of"):
            declared.check("nonsense")
        assert all(declared.check(word) in declared.choices() for word in declared.synonyms)
    if declared.kind in (int, float) and declared.most < 1e9:
        with pytest.raises(ValueError, match="not "):
            declared.check(declared.most + 1)
        with pytest.raises(ValueError, match="not True"):
            declared.check(True)


def test_no_option_has_two_fields():
    names = [name for key in FIELDS for name in option_names(key)]
    assert len(names) == len(set(names))


def test_normalisations_are_all_of_the_front_end_s():
    from ivector import pipeline

    assert set(pipeline.NORMALISATIONS) <= set(NORMALISATIONS)


def test_changes_are_checked_and_leave_the_former_alone():
    config = NetworkConfig()
    other = config.changed({"loss.name": "am", "batches.frames": 90, "schedule.lr": 1})
    assert other.loss.name == "am-softmax" and other.batches.frames == (90,)
    assert isinstance(other.schedule.lr, float) and config == NetworkConfig()
    assert pickle.loads(pickle.dumps(other)) == other  # worker processes get it so
    assert other["loss.name"] == other.items()["loss.name"] == other.nested()["loss"]["name"]
    with pytest.raises(UsageError, match=r"batches\.size: no field"):
        config.changed({"batches.size": 3})
    with pytest.raises(UsageError, match=r"optimiser\.momentum: takes numbers from 0 to 0\.99"):
        config.changed({"optimiser.momentum": 2})


def test_epochs_stand_in_the_place_of_former_steps_and_not_of_given_ones():
    config = STEP.config()
    assert config.training.steps == 300
    assert config.changed({"training.epochs": 3}).training.steps is None
    both = config.changed({"training.epochs": 3, "training.steps": 7}).training
    assert (both.epochs, both.steps) == (3, 7)


# Files


@tomllib
@pytest.mark.parametrize("ending", [".toml", ".json"])
@pytest.mark.parametrize("name", PRESETS)
def test_a_file_gives_back_what_was_written(tmp_path, name, ending):
    preset = PRESETS[name]
    config = preset.config().changed({
        "model.pooling": "average", "model.options": {"channels": [8, 8], "kind": "a \"b\" é"},
        "optimiser.average": 0.9, "schedule.lr": 1e-5,
    })  # fmt: skip
    path = tmp_path / f"network{ending}"
    write_config(path, config, preset.without)
    assert preset.config().changed(read_config(path, preset)) == config


MISTAKES = [
    ({"batches": {"batchsize": 3}}, r"batches\.batchsize: no such key; did you mean batches\.ba"),
    ({"batch": {"frames": 3}}, r"batch: no such section; did you mean batches\?"),
    ({"model": {"margin": 3}}, r"model\.margin: no such key; did you mean loss\.margin\?"),
    ({"zzz": {}}, r"zzz: no such section; there are model, features, loss"),
    ({"loss": {"margin": "0.2"}}, r"loss\.margin: takes numbers from 0 to 2, not '0\.2'"),
    ({"loss": {"margin": 3}}, r"loss\.margin: takes numbers from 0 to 2, not 3"),
    ({"batches": {"batch_size": 2.5}}, r"batches\.batch_size: takes whole numbers from 1, no"),
    ({"training": {"seed": True}}, r"training\.seed: takes whole numbers from 0 to 4294967295, no"),
    ({"batches": {"frames": [1, 2, 3]}}, r"batches\.frames: takes at most 2 values, not 3"),
    ({"batches": {"frames": None}}, None),
    ({"machine": {"compile": 1}}, r"machine\.compile: takes true or false, not 1"),
    ({"model": {"name": "ecappa"}}, r"model\.name: takes one of conformer, .*, not 'ecappa'"),
    ({"model": {"options": [1]}}, r"model\.options: takes options by name, not \[1\]"),
    ({"optimiser": {"name": None}}, r"optimiser\.name: takes .*, and must have a value"),
    ({"schedule": {"warmup": 1.5}}, r"schedule\.warmup: takes numbers of steps or, below 1, sh"),
    ({"augmentation": {"sound": 0.5}}, r"augmentation\.sound: is none of this task's: features a"),
    ({"features": {"normalisation": "frame"}}, r"features\.normalisation: takes one of cmn, cmvn"),
    ({"model": 3}, r"model: holds fields, not 3"),
    ([1], r"holds sections with fields, not \[1\]"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "text"), MISTAKES)
def test_mistakes_in_a_file_name_file_key_and_cure(tmp_path, content, text):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    if text is None:  # what may be left to the data has no value
        assert read_config(path, PLAIN) == {"batches.frames": ()}
        return
    with pytest.raises(UsageError, match=f"^{path}: {text}") as raised:
        read_config(path, PLAIN)
    assert "\n" not in str(raised.value)


@tomllib
def test_files_that_are_none(tmp_path):
    for name, content, text in (
        ("a.toml", "[model\n", "not TOML"),
        ("a.json", "{", "not JSON"),
        ("a.yaml", "", r"ends in \.toml or \.json"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError, match=text):
            read_config(tmp_path / name, PLAIN)
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        read_config(tmp_path / "none.toml", PLAIN)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        read_config(tmp_path / "b.toml", PLAIN)
    with pytest.raises(UsageError, match=r"ends in \.toml or \.json"):
        write_config(tmp_path / "a.ini", NetworkConfig())


# Options


def test_the_command_line_wins_over_the_file_and_the_file_over_the_task(tmp_path):
    path = tmp_path / "mine.json"
    model = {"name": "ecapa", "options": {"channels": 64, "scale": 4}}
    path.write_text(json.dumps({
        "model": model, "schedule": {"lr": 0.5, "warmup": 7},
        "augmentation": {"spec_augment": False},
    }))  # fmt: skip
    config = parse(STEP, "--config", path, "--lr", 0.25, "--model-option", "scale=8")
    assert config.schedule.lr == 0.25 and config.schedule.warmup == 7
    assert config.model.name == "ecapa"
    assert config.model.options == {"channels": 64, "scale": 8}
    assert config.augmentation.spec_augment is False
    assert config.batches == STEP.config().batches
    assert parse(STEP, "--config", path, "--spec-augment").augmentation.spec_augment is True


def test_switches_can_be_turned_off_that_a_file_turns_on(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps({"machine": {"compile": True}, "augmentation": {"spec_augment": True}})
    )
    config = parse(PLAIN, "--config", path, "--no-compile", "--no-mask")
    assert not config.machine.compile and not config.augmentation.spec_augment
    assert parse(PLAIN, "--mask").augmentation.spec_augment


@pytest.mark.parametrize("name", PRESETS)
def test_without_options_the_task_s_own_hold(name):
    assert parse(PRESETS[name]) == PRESETS[name].config()


@pytest.mark.parametrize("name", PRESETS)
def test_help_tells_every_option_and_its_default(name):
    parser = argparse.ArgumentParser()
    add_options(parser, PRESETS[name])
    there = set(parser._option_string_actions)
    told = " ".join(parser.format_help().split())
    for key in FIELDS:
        assert (option_names(key)[0] in there) == (key not in PRESETS[name].without), key
    assert ("(default: 0.002)" in told) == (name == "xvector")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"batches.frames": (30, 20)}, "`frames`: takes one length, or the least"),
        ({"loss.name": "ge2e"}, "the loss ge2e compares utterances: give `per_speaker`"),
        (
            {"loss.name": "ge2e", "batches.per_speaker": 2, "training.accumulate": 2},
            "`accumulate`: ge2e",
        ),
        ({"batches.per_speaker": 5}, "`batch_size`: must be a multiple"),
        ({"augmentation.speeds": (0.9,)}, "`speeds`: different factors"),
        ({"augmentation.speeds": (1.0, 1.0)}, "`speeds`: different factors"),
    ],
)
def test_what_does_not_go_together_is_told_by_its_names(values, text):
    with pytest.raises(UsageError, match=text):
        check_together(NetworkConfig().changed(values))


# The five commands, as they were before they shared a configuration

BEFORE = {
    "train": (
        train.make_parser,
        "--model --model-option --loss --margin --frames --batch-size --per-speaker --epochs "
        "--steps --optimiser --lr --schedule --warmup --weight-decay --average --accumulate "
        "--device --threads --workers --compile --save-every --tensorboard --seed --held-out "
        "--trials --enroll --trial-features --trial-vad --validate-every --features --vad "
        "--utt2spk --out",
        {
            "model.name": "xvector-small", "loss.name": "aam-softmax", "loss.margin": 0.2,
            "batches.frames": (200, 400), "batches.batch_size": 64, "batches.per_speaker": 0,
            "training.epochs": 30, "training.steps": None, "optimiser.name": "adamw",
            "schedule.lr": 1e-3, "schedule.name": "cosine", "optimiser.weight_decay": 0.01,
            "optimiser.average": 0, "training.accumulate": 1, "training.save_every": 500,
            "training.validate_every": 0, "features.normalisation": "cmn",
        },
    ),
    "deep-speaker": (
        deep_speaker.make_parser,
        "--features --utt2spk --librispeech --sets --out --init --architecture --channels --steps "
        "--batch-size --per-speaker --frames --lr --save-every --workers --threads --device --seed",
        {
            "batches.batch_size": 64, "batches.per_speaker": 4, "batches.frames": (160,),
            "schedule.lr": 1e-3, "training.save_every": 500, "loss.margin": 0.1,
        },
    ),
    "identification": (
        lambda: subparser(identify.make_parser(), "train"),
        "--classes --features --normalise --pack --out --keep --validation --held-out --model "
        "--width --model-option --loss --margin --frames --batch-size --epochs --steps --lr "
        "--warmup --optimiser --weight-decay --mask --precision --workers --validations "
        "--save-every --seed --device --threads",
        {
            "model.name": None, "model.width": 1, "loss.name": None, "loss.margin": 0.2,
            "batches.frames": (), "batches.batch_size": 64, "training.epochs": 30,
            "schedule.lr": 1e-3, "optimiser.name": "adamw", "optimiser.weight_decay": 0.01,
            "augmentation.spec_augment": False, "training.precision": "auto",
            "training.validations": 10, "training.save_every": 500,
        },
    ),
    "embedding": (
        train_embedding.make_parser,
        "--features --data --utt2spk --out --model --model-option --normalise --loss --margin "
        "--frames --batch-size --per-speaker --epochs --steps --lr --decay --decay-every --warmup "
        "--weight-decay --save-every --compile --device --threads --workers --seed --num-mel-bins "
        "--augment --musan --rirs --speeds --spec-augment --trials --enroll --trial-features "
        "--validate-every",
        {
            "model.name": "resnetse34l", "features.normalisation": "none",
            "loss.name": "angular-prototypical", "loss.margin": 0.2, "batches.frames": (200,),
            "batches.batch_size": 750, "training.epochs": 500, "schedule.lr": 1e-3,
            "schedule.decay": 0.95, "schedule.decay_every": 10, "schedule.warmup": 0,
            "optimiser.weight_decay": 0, "features.num_mel_bins": 40, "augmentation.sound": 0,
            "augmentation.speeds": (1,), "augmentation.spec_augment": False,
        },
    ),
}  # fmt: skip


def subparser(parser, name):
    return next(a for a in parser._actions if a.dest == "command").choices[name]


@pytest.mark.parametrize("name", BEFORE)
def test_commands_have_the_options_and_defaults_that_they_had(name):
    build, options, values = BEFORE[name]
    there = set(build()._option_string_actions)
    assert set(options.split()) <= there and "--config" in there and "--pooling" in there
    config = PRESETS[name].config()
    assert {key: config[key] for key in values} == values
    assert (config.machine.device, config.machine.workers, config.training.seed) == ("auto", 0, 0)


def test_networks_of_run_sh_have_the_defaults_that_they_had():
    config = PRESETS["xvector"].config()
    values = {
        "model.name": "xvector-small", "loss.name": "am-softmax", "loss.margin": 0.2,
        "loss.scale": 30, "batches.frames": (100, 200), "batches.batch_size": 64,
        "batches.per_speaker": 2, "training.steps": 300, "schedule.lr": 2e-3,
        "optimiser.weight_decay": 0.05, "augmentation.spec_augment": True,
        "features.normalisation": "cmn", "features.cmn_window": 300, "machine.threads": 1,
        "machine.device": "auto", "training.seed": 0,
    }  # fmt: skip
    assert {key: config[key] for key in values} == values


def test_a_single_length_leaves_the_words_behind_it_to_others():
    words = ["train", "--frames", "80", "a.bin", "--mask", "b.bin", "--out", "x"]
    arguments = identify.make_parser().parse_args(words[:4] + words[6:])
    assert arguments.data == [Path("a.bin")]
    assert configure(arguments, PRESETS["identification"]).batches.frames == (80,)
    arguments = identify.make_parser().parse_args(["train", *words[4:]])
    assert arguments.data == [Path("b.bin")]


# The command, the page, and no torch


@tomllib
def test_a_file_to_start_from(tmp_path, capsys):
    from dnn.configuration.__main__ import main, make_parser
    from ivector.base.cli import run

    assert run(make_parser(), main, ["xvector"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "mine.toml").write_text(printed)
    values = read_config(tmp_path / "mine.toml", STEP)
    assert STEP.config().changed(values) == STEP.config()
    assert "training.seed" not in values and "# pooling =  # how frames" in printed
    assert run(make_parser(), main, ["train", "--out", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["schedule"]["lr"] == 1e-3
    assert run(make_parser(), main, []) == 2
    (tmp_path / "page.md").write_text("nothing")
    pytest.importorskip("torch")
    assert run(make_parser(), main, ["--page", str(tmp_path / "page.md")]) == 1
    assert "lacks the marks" in capsys.readouterr().err


def test_the_page_s_tables_are_those_of_the_declarations(tmp_path):
    pytest.importorskip("torch")
    from dnn.configuration.document import update

    page = ROOT / "docs" / "networks.md"
    copy = tmp_path / "networks.md"
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    update(copy)
    said = "run python -m dnn.configuration --page docs/networks.md"
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), said
