"""Closed-set speaker identification: ``python -m dnn.identify train|test|predict|sweep|report``.

DATA is a folder or files of binary records (``voxceleb-abridged-N.bin``), a folder of ``.pt``
features with JSON or CSV tables, or a data directory (``wav.scp``, ``utt2spk``); see
`dnn.data.labelled`. A training that was stopped is resumed by the same command; SIGTERM saves and
exits with code 75.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnn.commands import COMMANDS
from dnn.configuration.options import add_options, configure
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import NetworkConfig, check_together
from dnn.extra import told_extra
from dnn.models import MODELS
from ivector.base.cli import Parser, number, run, whole
from ivector.base.errors import DataError, Exit, UsageError

if TYPE_CHECKING:
    from dnn.data.labelled import FrontEnd, LabelledSet
    from dnn.embedding.export import SpeakerClassifier

logger = logging.getLogger("identification")

PRESET = PRESETS["identification"]


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.identify",
        description=COMMANDS["identify"].sentence,
        epilog="Exit codes: 0 done; 1 bad data; 2 wrong usage; 75 a training was stopped by "
        "SIGTERM and saved, run the same command again.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    train = commands.add_parser("train", help="train a network")
    _add_data(train)
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the training")
    train.add_argument("--keep", choices=("last", "best"), default="last",
        help="export the weights of the end, or of the best validation, whose accuracy is then no "
        "measure of them")  # fmt: skip
    _add_validation(train, "validation", "measure the accuracy of on the way, for the curves")
    train.add_argument("--inner", type=whole(0), default=0, metavar="N",
        help="measure on each speaker's last N of what is left to train on instead, so that "
        "--patience and --keep best see nothing of the test")  # fmt: skip
    add_options(train, PRESET)

    test = commands.add_parser("test", help="measure accuracy and speed; draw the confusions")
    _add_trained(test, "whose speakers are known")
    test.add_argument("--classes", type=Path, metavar="FILE", help="of records; must be the same")
    test.add_argument("--held-out", type=whole(0), default=0, metavar="N",
        help="test each speaker's last N utterances of DATA only, which train --held-out N kept "
        "from the training")  # fmt: skip
    test.add_argument("--out", type=Path, required=True, metavar="DIR",
        help="for results.json, confusion.png and .csv, and predictions.csv")  # fmt: skip
    _add_machine(test)

    predict = commands.add_parser("predict", help="write output.csv, 'Id,Category'")
    _add_trained(predict, "to identify; of a set with tables, those of its test")
    predict.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV file")
    _add_machine(predict)

    sweep = commands.add_parser(
        "sweep", help="train with other batch sizes, learning rates and widths; write a report"
    )
    _add_data(sweep)
    sweep.add_argument("--out", type=Path, required=True, metavar="DIR",
        help="for report.md and the trainings, of which those there already are kept")  # fmt: skip
    _add_validation(sweep, "test", "test on")
    _add_factors(sweep)
    add_options(sweep, PRESET)

    report = commands.add_parser(
        "report", help="PDF of three pages, Markdown and HTML on trained and tested networks"
    )
    report.add_argument("experiment", type=Path, metavar="EXP",
        help="a sub-folder for each network, with its test in it, and perhaps sweep")  # fmt: skip
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the report")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", nargs="+", type=Path, metavar="DATA", help="to train on")
    add("--classes", type=Path, metavar="FILE",
        help="'NUMBER NAME' a line, of records (default: voxceleb-abridged-classes.txt"
        " or classes.txt beside them)")  # fmt: skip
    add("--pack", type=Path, metavar="PREFIX",
        help="copy the features to PREFIX.ark first, once; crops of .pt files and of recordings "
        "are then read much faster")  # fmt: skip


def _add_validation(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    add = parser.add_argument
    add(f"--{name}", dest="other", nargs="+", type=Path, metavar="DATA", help=f"set to {what}")
    add("--held-out", type=whole(0), default=0, metavar="N",
        help=f"keep each speaker's last N utterances from training, to {what}")  # fmt: skip


def _add_trained(parser: argparse.ArgumentParser, what: str) -> None:
    add = parser.add_argument
    add("network", type=Path, metavar="NETWORK", help="folder of a network, or of its training")
    add("data", nargs="+", type=Path, metavar="DATA", help=f"utterances {what}")
    add("--crops", type=whole(0), default=0, metavar="K",
        help="average the posteriors of K crops as long as those of the training, which takes "
        "longer and suits networks of short crops; 0 takes utterances whole")  # fmt: skip


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=whole(0), default=0, metavar="N", help="on the CPU; 0: all cores")


def _add_factors(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch-sizes", nargs="*", type=whole(1), default=[], metavar="B",
        help="tried besides --batch-size, all else being as given")  # fmt: skip
    add("--lrs", nargs="*", type=number(1e-9), default=[], metavar="RATE",
        help="tried besides --lr")  # fmt: skip
    add("--widths", nargs="*", type=number(0.01, 100), default=[], metavar="FACTOR",
        help="tried besides --width")  # fmt: skip
    add("--models", nargs="*", choices=sorted(MODELS), default=[], metavar="NAME",
        help="other networks of the same --width, tried besides --model")  # fmt: skip


@told_extra()
def main(arguments: argparse.Namespace) -> int:
    """Do what the command says."""
    commands = {"train": _train, "test": _test, "predict": _predict, "sweep": _sweep,
                "report": _report}  # fmt: skip
    return commands[arguments.command](arguments) or 0


def _train(arguments: argparse.Namespace) -> int:
    from dnn.identification.training import train_identifier

    config, front_end, data, other = _open_training(arguments)
    trained = train_identifier(data, arguments.out, config, front_end, other, arguments.keep)
    if not trained.finished:
        return Exit.STOPPED
    logger.info("the network is in %s", trained.network)
    return 0


def _test(arguments: argparse.Namespace) -> None:
    from dnn.data.labelled import hold_out, open_labelled
    from dnn.identification.experiment import CONFUSION, write_confusion
    from dnn.identification.identifier import (
        answer,
        describe_machine,
        measures,
        plot_confusion,
        write_predictions,
    )
    from ivector.base.files import write_json

    classifier, front_end, crop_frames = _open_network(arguments.network)
    data = open_labelled(
        arguments.data, front_end, classes=arguments.classes, speakers=classifier.speakers
    )
    if arguments.held_out:
        data = hold_out(data, arguments.held_out)[1]
    device = _device(arguments)
    answers = answer(
        classifier, data.source, data.labels,
        n_crops=arguments.crops, crop_frames=crop_frames, device=device, show=True,
    )  # fmt: skip
    record = {**measures(answers, data.speakers), "machine": describe_machine(device)}
    write_json(arguments.out / "results.json", record, indent=1)
    title = f"{100 * answers.accuracy:.1f} % right of {len(data.labels)}"
    plot_confusion(arguments.out / "confusion.png", answers.confusion, data.speakers, title)
    write_confusion(arguments.out / CONFUSION, answers.confusion, data.speakers)
    names = [data.speakers[i] for i in answers.scores.argmax(axis=1)]
    write_predictions(arguments.out / "predictions.csv", data.source.ids, names)
    print("utterances  top-1 %  top-5 %  instances/s")
    print(f"{len(data.labels):10d}  {100 * answers.accuracy:7.2f}  {100 * answers.top5:7.2f}  "
          f"{answers.rate:11.1f}")  # fmt: skip


def _predict(arguments: argparse.Namespace) -> None:
    from dnn.data.labelled import open_unlabelled
    from dnn.identification.identifier import score_classes, write_predictions

    classifier, front_end, crop_frames = _open_network(arguments.network)
    source = open_unlabelled(arguments.data, front_end)
    scores = score_classes(
        classifier, source, n_crops=arguments.crops, crop_frames=crop_frames,
        device=_device(arguments), show=True,
    )  # fmt: skip
    names = [classifier.speakers[i] for i in scores.argmax(axis=1)]
    write_predictions(arguments.out, source.ids, names)
    logger.info("%d answers in %s", len(names), arguments.out)


def _sweep(arguments: argparse.Namespace) -> int:
    from dnn.identification.sweep import Factors, run_sweep

    config, front_end, data, other = _open_training(arguments)
    if other is None:
        raise UsageError("a sweep needs a --test set, or --held-out")
    factors = Factors(arguments.batch_sizes, arguments.lrs, arguments.widths, arguments.models)
    if not run_sweep(data, other, arguments.out, config, front_end, factors):
        return Exit.STOPPED
    print((arguments.out / "report.md").read_text(encoding="utf-8"), end="")
    return 0


def _report(arguments: argparse.Namespace) -> None:
    from dnn.identification.assignment_pages import write_report

    write_report(arguments.experiment, arguments.out)
    logger.info("report.pdf, report.md and report.html are in %s", arguments.out)


def _open_training(
    arguments: argparse.Namespace,
) -> tuple[NetworkConfig, FrontEnd, LabelledSet, LabelledSet | None]:
    """Configuration, front end, what to train on, and what to measure on."""
    if arguments.other and arguments.held_out:
        raise UsageError("give a set of its own or --held-out, not both")
    inner = getattr(arguments, "inner", 0)  # of train alone
    if inner and arguments.other:
        raise UsageError("give --validation or --inner, not both")
    config = configure(arguments, PRESET)
    check_together(config)
    from dnn.data.labelled import guess_front_end, hold_out, open_labelled
    from dnn.data.mel_set import check_test
    from dnn.training.builder import use_threads

    use_threads(config)
    features = config.features
    front_end = guess_front_end(arguments.data, features.kind, features.normalisation)
    check_test(arguments.data[0])
    data = open_labelled(arguments.data, front_end, classes=arguments.classes, pack=arguments.pack)
    other = None
    if arguments.other:
        other = open_labelled(arguments.other, front_end, speakers=data.speakers)
    for n_last in (arguments.held_out, inner):
        if n_last:
            data, other = hold_out(data, n_last)
    return config, front_end, data, other


def _open_network(folder: Path) -> tuple[SpeakerClassifier, FrontEnd, int]:
    """A network with its classes, its features, and the length of its training crops."""
    from dnn.data.labelled import FEATURES, NORMALISATIONS, FrontEnd
    from dnn.embedding.export import CONFIG, load_classifier, network_folder, read_config

    folder = network_folder(folder)
    told = read_config(folder).get("identification")
    if (
        not isinstance(told, dict)
        or told.get("features") not in FEATURES
        or told.get("normalisation") not in NORMALISATIONS
        or not isinstance(told.get("crop_frames"), int)
    ):
        raise DataError(
            f"{folder / CONFIG}: does not tell the features of an identification network; train "
            "one with python -m dnn.identify train"
        )
    front_end = FrontEnd(told["features"], told["normalisation"])
    return load_classifier(folder), front_end, told["crop_frames"]


def _device(arguments: argparse.Namespace) -> Any:
    """The device to test on; torch takes so many threads of the CPU."""
    import torch

    from dnn.training.distributed import Ranks, pick_device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return pick_device(arguments.device, Ranks())


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
