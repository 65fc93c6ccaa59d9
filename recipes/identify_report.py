"""One table of all systems on a closed set: ``python -m recipes.identify_report EXP``.

Every sub-folder of EXP with a ``test/results.json`` is a system: networks that `dnn.identify`
trained and tested, and those of `recipes.identify_classical`. The table is printed, and stands in
EXP/report.md with training curves, confusions, options and hardware.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnn.identification.experiment import (
    NUMBER,
    OPTIONS,
    SPEED,
    check_part,
    check_record,
    check_test,
)
from dnn.identification.figures import interval, markdown_table, percent
from ivector.base.cli import Parser, run
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.base.foreign.boundary import read_json
from ivector.base.foreign.names import MOST_NAME, markdown_text, shown
from recipes.commands import COMMANDS

REPORT = "report.md"
NAMES = {
    "ivector": "i-vector + PLDA",
    "gmm-ubm": "GMM-UBM (MAP)",
    "vgg-m": "VGG-M",
    "conformer": "Conformer",
}
HEADER = ("system", "top-1 (%)", "95 % interval", "top-5 (%)", "95 % interval",
          "parameters (10⁶)", "training (min)", "CPU (min)", "test (instances/s)",
          "per CPU s")  # fmt: skip
# What is read of each record, and of which type it is.
SPEED_READ = {**SPEED, "seconds": NUMBER, "cpu_seconds": NUMBER, "instances": int}
OPTIONS_READ = {
    **OPTIONS, "network": dict, "loss": str, "margin": NUMBER, "width": NUMBER, "mask": bool,
    "n_frames": (int, list), "optimiser": str, "precision": str, "seed": int,
}  # fmt: skip
FRONT_END_READ = {"features": str, "normalisation": str}
TEST_READ = {"cpu_seconds": NUMBER, "processes": (int, type(None))}
CLASSICAL_READ = {
    "parameters": int, "training_seconds": NUMBER, "training_cpu_seconds": NUMBER, "processes": int,
}  # fmt: skip
NOTES = """\
Intervals are Wilson's, for independent tests; those of one speaker are not quite, so that the
intervals are rather too narrow. Parameters are those of the models that all speakers share.
Training is without the making of stored features (VGG-M's spectrograms are computed on the way);
CPU minutes are summed over cores, and say more where a machine has other work. Tests include
reading, and the networks' features, which are computed from the recordings. All recordings of a
speaker are of one session as a rule, which makes the task easier than it is in the field: compare
systems, not figures of other sets."""


class System(NamedTuple):
    """A system's folder, the results of its test, and what its training left (networks alone)."""

    folder: Path
    test: dict[str, Any]
    speed: dict[str, Any]
    network: dict[str, Any]

    @property
    def name(self) -> str:
        """As the table has it."""
        return NAMES.get(self.folder.name, self.folder.name)


def read_systems(exp: Path) -> list[System]:
    """All systems below a folder, best first.

    Raises
    ------
    DataError
        There is none, a file is damaged, or their tests are not of as many utterances.
    """
    found = [_system(path) for path in sorted(exp.glob("*/test/results.json"))]
    if not found:
        raise DataError(f"{exp}: no */test/results.json here; train and test a system first")
    counts = {system.test["utterances"] for system in found}
    if len(counts) > 1:
        raise DataError(
            f"{exp}: systems were tested on {' and '.join(map(str, sorted(counts)))} utterances; "
            "test them on one set"
        )
    return sorted(found, key=lambda system: -system.test["top1"])


def _system(path: Path) -> System:
    """The system of a test; its records are complete."""
    folder, network = path.parents[1], path.parents[1] / "network" / "config.json"
    test = check_record(path, check_test(path, _read(path)), TEST_READ)
    if not network.exists():
        return System(folder, check_record(path, test, CLASSICAL_READ), {}, {})
    speed = check_record(folder / "speed.json", _read(folder / "speed.json"), SPEED_READ)
    told = check_record(network, _read(network), {"step": int})
    check_part(network, told, "options", OPTIONS_READ)
    check_part(network, told, "identification", FRONT_END_READ)
    return System(folder, test, speed, told)


def table(systems: Sequence[System]) -> list[list[str]]:
    """Cells of the table, a row for each system."""
    return [
        [
            system.name,
            percent(system.test["top1"]),
            interval(system.test["top1_interval"]),
            percent(system.test["top5"]),
            interval(system.test["top5_interval"]),
            f"{(system.speed or system.test)['parameters'] / 1e6:.3g}",
            *_minutes(system),
            f"{system.test['instances_per_s']:.0f}",
            _cpu_rate(system),
        ]
        for system in systems
    ]


def report(exp: Path, systems: Sequence[System], cells: Sequence[Sequence[str]]) -> str:
    """The text of ``report.md``."""
    test = systems[0].test
    n_speakers, n_tests = len(test["by_speaker"]), test["utterances"]
    parts = [
        "# Closed-set speaker identification",
        f"{n_speakers} speakers, {n_tests} test utterances. Guessing is right in "
        f"{100 / n_speakers:.2g} %.",
        markdown_table(HEADER, cells),
        NOTES.replace("\n", " "),
    ]
    for system in systems:
        where = system.folder.relative_to(exp).as_posix()
        parts += [f"## {markdown_text(system.name)}"]
        if system.network:
            parts += [_options(system), f"![Training curves]({where}/curves.png)"]
        parts += [f"![Confusion matrix]({where}/test/confusion.png)", _confusions(system)]
    return "\n\n".join([*parts, *_machine(systems)]) + "\n"


def _minutes(system: System) -> tuple[str, str]:
    """Training time by the clock and by the processor, of all steps at the speed of the last."""
    if not system.network:
        seconds, cpu = (system.test[f"training_{name}"] for name in ("seconds", "cpu_seconds"))
        # The time of other processes is not known.
        return f"{seconds / 60:.1f}", f"{cpu / 60:.1f}" if system.test["processes"] == 1 else "–"
    seconds, cpu = (system.speed[name] for name in ("seconds", "cpu_seconds"))
    n_crops = system.network["step"] * system.network["options"]["batch_size"]
    share = n_crops / system.speed["instances"] / 60
    return f"{share * seconds:.1f}", f"{share * cpu:.1f}"


def _cpu_rate(system: System) -> str:
    cpu = system.test["cpu_seconds"]
    if not cpu or system.test.get("processes", 1) > 1:
        return "–"
    return f"{system.test['utterances'] / cpu:.0f}"


def _options(system: System) -> str:
    told = system.network["options"]
    front_end = system.network["identification"]
    more = "".join(f", {name} {value}" for name, value in told["network"].items())
    margin = f" (margin {told['margin']:g})" if told["loss"] != "softmax" else ""
    return (
        f"Input: {front_end['features']}, normalisation: {front_end['normalisation']} over what "
        f"is read. Width {told['width']:g}{more}; {told['loss']} loss{margin}; "
        f"{system.network['step']} updates of {told['batch_size']} crops of {told['n_frames']} "
        f"frames{', partly masked' if told['mask'] else ''}; {told['optimiser']}, largest rate "
        f"{told['rate']:g}, warm-up and half a cosine; products in {told['precision']} precision; "
        f"seed {told['seed']}. The weights of the end are tested; the accuracy in the curves "
        "decides nothing."
    )


def _confusions(system: System) -> str:
    pairs = system.test["worst_pairs"][:5]
    if not pairs:
        return "No test was taken for another speaker."
    rows = [[pair["speaker"], pair["taken_for"], str(pair["utterances"])] for pair in pairs]
    return markdown_table(("speaker", "taken for", "tests"), rows)


def _machine(systems: Sequence[System]) -> list[str]:
    told = next((system.speed for system in systems if system.speed), None)
    if told is None:
        return []
    names = ("processor", "cores", "threads", "gpu", "memory_gib", "device", "torch", "system")
    rows = [[name, str(told[name])] for name in names if name in told]
    return ["## Hardware of the networks' trainings", markdown_table(("", ""), rows)]


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, "the record of a tested system")


def _plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table for a terminal."""
    rows = [[shown(cell, most=MOST_NAME) for cell in line] for line in rows]
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in (header, *rows)
    )


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.identify_report",
        description=COMMANDS["identify-report"].sentence,
    )
    parser.add_argument("exp", type=Path, metavar="EXP", help="a sub-folder for each system")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, print, write."""
    systems = read_systems(arguments.exp)
    cells = table(systems)
    write_text(arguments.exp / REPORT, report(arguments.exp, systems, cells))
    print(_plain(HEADER, cells))


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
