"""Turn a corpus into data directories and trials: ``python -m recipes.prepare NAME --out DIR``.

The layout is described in `recipes.corpora`. A complete output of the same options and the same
recordings is left untouched; otherwise it is made again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ivector.base.cli import Parser, add_parallel_options, run
from ivector.base.files import read_lines, write_text
from recipes.corpora import NAMES
from recipes.corpora.common import AUDIO, find_files
from recipes.engine.marks import tell

logger = logging.getLogger("prepare")

LAYOUT = 1
LOOKED_AT = 2000  # recordings that must still be there for an output to be complete
# Options that change no byte of the output.
_IDLE = {"out", "corpus", "force", "nj", "backend", "scheduler", "dry_run", "verbose", "module"}


def make_parser() -> Parser:
    """Make the parser, with one sub-command for each corpus."""
    parser = Parser(prog="recipes.prepare", description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(dest="corpus", metavar="NAME", required=True)
    for name in NAMES:
        module = importlib.import_module(f"recipes.corpora.{name}")
        text = str(module.__doc__).replace("``", "").replace("%", "%%")
        sub = commands.add_parser(name, help=text.splitlines()[0], description=text)
        sub.add_argument("--corpus-dir", metavar="DIR", help="folder that holds the corpus")
        sub.add_argument("--out", required=True, help="folder for data directories and trials")
        sub.add_argument(
            "--strict",
            action="store_true",
            help="stop at a recording that cannot be used, instead of leaving it out",
        )
        sub.add_argument("--force", action="store_true", help="make a complete output again")
        sub.add_argument("--dry-run", action="store_true", help="say whether it would be made")
        add_parallel_options(sub)
        module.add_options(sub)
        sub.set_defaults(module=module)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Prepare one corpus unless it stands there already."""
    out = Path(arguments.out)
    options = {k: v for k, v in vars(arguments).items() if k not in _IDLE}
    version = getattr(arguments.module, "VERSION", 0)
    record = {"layout": [LAYOUT, version], "corpus": arguments.corpus, "options": options}
    marker = out / "prepared.json"
    complete = _complete(marker, {**record, "found": fingerprint(options)})
    if arguments.dry_run:
        tell(out, [] if complete and not arguments.force else _reasons(marker, record))
        return 0
    if complete and not arguments.force:
        print(f"{out}: complete with these options, left untouched (--force makes it again)")
        return 0
    counts = arguments.module.prepare(
        options.pop("corpus_dir"), out, **_accepted(arguments, options)
    )
    record["options"] = {k: v for k, v in vars(arguments).items() if k not in _IDLE}
    record["found"] = fingerprint(record["options"])
    write_text(marker, json.dumps({**record, "counts": counts}, indent=1, sort_keys=True) + "\n")
    print(f"{out}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return 0


def _accepted(arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a corpus's `prepare`; only some can use several processes."""
    code = arguments.module.prepare.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {**options, "nj": arguments.nj} if "nj" in names else options


def _reasons(marker: Path, record: dict[str, Any]) -> list[str]:
    """Say why an output would be made."""
    try:
        former = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ["not there yet"]
    options = former.get("options", {}), json.loads(json.dumps(record["options"]))
    changed = [
        f"option {name}: {options[0].get(name)} -> {options[1].get(name)}"
        for name in sorted(options[0].keys() | options[1].keys())
        if options[0].get(name) != options[1].get(name)
    ]
    return changed or ["asked for, or recordings or lists were changed"]


def _complete(marker: Path, record: dict[str, Any]) -> bool:
    """Whether `marker` says that the same was made before, and it still stands there."""
    try:
        former = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    counts = former.pop("counts", None)
    folder = marker.parent
    files = [folder / f"fold{i}" / "trials" for i in range((counts or {}).get("folds", 0))]
    if former != record or not all(path.is_file() for path in files):
        return False
    table = folder / "wav" / "wav.scp"
    lines = read_lines(table) if table.is_file() else [" "]
    # Of a large corpus a sample: its folder was looked through for the fingerprint.
    sample = lines[:: 1 + len(lines) // LOOKED_AT]
    return all(Path(line.partition(" ")[2]).is_file() for line in sample)


def fingerprint(options: dict[str, Any]) -> str:
    """Digest of the names, sizes and times of the recordings and lists that options point to."""
    digest = hashlib.sha256()
    for key in sorted(options):
        values = options[key] if isinstance(options[key], list) else [options[key]]
        for value in values:
            path = Path(value) if isinstance(value, str) and value else None
            if path is None or not path.exists():
                continue
            files = find_files(path, AUDIO | {".tar", "", ".txt", ".tsv", ".csv", ".utt2spk"})
            for file in files if path.is_dir() else [path]:
                # A link that leads nowhere is told when the recordings are opened.
                status = file.stat() if file.exists() else file.lstat()
                line = f"{key} {file} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def cli(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run(make_parser(), main, argv)


if __name__ == "__main__":
    sys.exit(cli())
