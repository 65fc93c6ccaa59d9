"""Check score files and trial lists: ``python -m fusion.lint FILES...``.

Says all that is wrong with them, or may be, by file and line: lines that cannot be read, trials
that come twice or contradict each other, scores that are missing, constant, rounded or of the
wrong sign, labels that contradict the speakers, recordings and speakers seen in training. Whether a
file holds scores or trials is told from its content; scores are checked against the lists given
with them. A known list is named. Exit status 1 if there are errors; warnings and notes leave it 0.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.commands import COMMANDS
from fusion.terminal.inputs import add_choice_of_columns, check_outputs
from ivector.base.cli import Parser, run
from ivector.base.errors import DataError, in_options

if TYPE_CHECKING:
    from fusion.formats.linting import File


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.lint",
        usage="%(prog)s FILES... [options]",
        description=COMMANDS["lint"].sentence,
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILES", type=Path,
        help="score files and trial lists, in any order")  # fmt: skip
    add("--utt2spk", type=Path, metavar="FILE",
        help="'utterance speaker' lines, to check the labels; without it they are checked where "
        "ids are VoxCeleb's")  # fmt: skip
    add("--train", type=Path, metavar="FILE",
        help="training data that the trials must not share speakers with: 'utterance speaker' "
        "lines, or a list of utterances or speakers")  # fmt: skip
    add_choice_of_columns(parser)
    add("--json", type=Path, metavar="FILE", help="write all findings to a file")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Read, check, print; 1 if there are errors."""
    from fusion.formats.layouts import Chosen
    from fusion.formats.linting import ERROR, NOTE, WARNING, count, lint
    from fusion.formats.speakers import read_map

    check_outputs(arguments)
    utt2spk = read_map(arguments.utt2spk) if arguments.utt2spk else None
    train = read_training(arguments.train) if arguments.train else []
    columns = Chosen(arguments.score_column, arguments.label_column)
    files = lint(arguments.files, train, utt2spk, columns)
    for file in files:
        _print(file)
    numbers = {kind: count(files, kind) for kind in (ERROR, WARNING, NOTE)}
    print(", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in numbers.items()))
    if arguments.json:
        _write_json(arguments.json, files, numbers)
    return 1 if numbers[ERROR] else 0


def read_training(path: Path) -> list[tuple[str, str]]:
    """Utterance and speaker of each line; a line of one name could be either.

    Raises
    ------
    DataError
        The file cannot be read, is empty, or a line has more than two columns.
    """
    from ivector.base.files import read_lines

    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) > 2:
            raise DataError(
                f"{path}, line {number}: expected 'utterance speaker' or one name, found "
                f"{len(fields)} columns"
            )
        if fields:
            pairs.append((fields[0], fields[-1]))
    if not pairs:
        raise DataError(f"{path}: is empty; expected lines 'utterance speaker', or of one name")
    return pairs


def _print(file: File) -> None:
    print(f"{file.path}: {_describe(file)}")
    gravity = ("error", "warning", "note").index
    for finding in sorted(file.findings, key=lambda finding: gravity(finding.severity)):
        single = finding.code in ("file", "sign", "chance", "separable")
        told = in_options(finding.message)
        what = told if single else f"{finding.count} × {told}"
        if finding.examples:
            more = ", …" if finding.count > len(finding.examples) else ""
            what += f" ({'; '.join(finding.examples)}{more})"
        print(f"  {finding.severity}: {what}")


def _describe(file: File) -> str:
    """Kind and numbers of a file."""
    if file.table is None:
        return "of no use"
    table = file.table
    n_models, n_tests = len(table.enrol_ids), len(table.test_ids)
    text = f"{len(table)} {file.kind}, models: {n_models}, tests: {n_tests}"
    if file.kind == "trials":
        text += "".join(f", {name}: {n}" for name, n in _classes(file).items())
    return text + (f"; {file.known_list}" if file.known_list else "")


def _classes(file: File) -> dict[str, int]:
    from fusion.formats.layouts import NONTARGET, TARGET
    from fusion.formats.tables import Trials

    if not isinstance(file.table, Trials):
        return {}
    labels = file.table.labels
    return {
        "targets": int((labels == TARGET).sum()),
        "nontargets": int((labels == NONTARGET).sum()),
    }


def _write_json(path: Path, files: Sequence[File], numbers: dict[str, int]) -> None:
    from ivector.base.files import write_json

    listed: list[dict[str, Any]] = []
    for file in files:
        entry: dict[str, Any] = {"file": file.path, "kind": file.kind}
        if file.table is not None:
            entry |= {"trials": len(file.table), "models": len(file.table.enrol_ids)}
            entry |= {"tests": len(file.table.test_ids), **_classes(file)}
        if file.known_list:
            entry["known_list"] = file.known_list
        listed.append(entry)
    content = {
        "files": listed,
        "findings": [dataclasses.asdict(finding) for file in files for finding in file.findings],
        "counts": numbers,
    }
    write_json(path, content)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
