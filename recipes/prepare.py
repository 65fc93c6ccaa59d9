"""Turn a corpus into data directories and trials: ``python -m recipes.prepare NAME --out DIR``.

The layout is described in `recipes.corpora`. A complete output of the same options, recordings and
code is left untouched; otherwise it is made again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ivector.base.cli import Parser, add_parallel_options, run
from ivector.base.files import read_lines
from recipes.commands import COMMANDS
from recipes.corpora import NAMES, STORED
from recipes.corpora.common import AUDIO, find_files
from recipes.engine.code import code_digest
from recipes.engine.marks import tell
from recipes.engine.stage import in_place, why

logger = logging.getLogger("prepare")

LOOKED_AT = 2000  # recordings that must still be there for an output to be complete
# Options that change no byte of the output.
_IDLE = {"out", "corpus", "force", "nj", "backend", "scheduler", "dry_run", "verbose", "module"}


def make_parser(prog: str = "python -m recipes.prepare") -> Parser:
    """Make the parser, with one sub-command for each corpus."""
    parser = Parser(prog=prog, description=COMMANDS["prepare"].sentence)
    commands = parser.add_subparsers(dest="corpus", metavar="NAME", required=True)
    for name in (*NAMES, *STORED):
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


def parse(corpus: str, words: Sequence[str], out: Path, prog: str) -> argparse.Namespace:
    """Options of a corpus as another program gives them; a wrong one ends that with status 2."""
    return make_parser(prog).parse_args([corpus, "--out", str(out), *words])


def identifying(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options that decide the bytes of the output."""
    return {k: v for k, v in vars(arguments).items() if k not in _IDLE}


def make(arguments: argparse.Namespace, nj: int) -> dict[str, int]:
    """Prepare a corpus; the counts of what there is."""
    options = identifying(arguments)
    code = arguments.module.prepare.__code__
    if "nj" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        options["nj"] = nj  # only some can use several processes
    counts = arguments.module.prepare(options.pop("corpus_dir"), Path(arguments.out), **options)
    logger.info("%s: %s", arguments.out, ", ".join(f"{n} {what}" for what, n in counts.items()))
    return counts


def main(arguments: argparse.Namespace) -> int:
    """Prepare one corpus unless it stands there already."""
    out = Path(arguments.out)
    options = identifying(arguments)

    def upstream() -> dict[str, str]:
        return {"recordings and lists": fingerprint(options)}

    named = {"corpus": arguments.corpus, **options}
    code = code_digest(f"recipes.corpora.{arguments.corpus}")
    reasons = why(out, named, upstream(), arguments.force, code) or is_missing(out)
    if arguments.dry_run:
        tell(out, reasons)
        return 0
    if not reasons:
        print(f"{out}: complete with these options, left untouched (--force makes it again)")
        return 0
    with in_place(out, named, upstream, code):
        counts = make(arguments, arguments.nj)
    print(f"{out}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return 0


def is_missing(out: Path) -> list[str]:
    """Say that a recording is gone since; of a large corpus a sample is looked at."""
    table = next((out / "wav").glob("*.scp"), out / "wav" / "wav.scp")
    lines = read_lines(table) if table.is_file() else []
    for line in lines[:: 1 + len(lines) // LOOKED_AT]:
        path = Path(line.partition(" ")[2])
        if not path.is_file():
            return [f"{path.name}: is gone"]
    return []


def fingerprint(options: dict[str, Any]) -> str:
    """Digest of the names, sizes and times of the recordings and lists that options point to."""
    digest = hashlib.sha256()
    for key in sorted(options):
        values = options[key] if isinstance(options[key], list) else [options[key]]
        for value in values:
            path = Path(value) if isinstance(value, str) and value else None
            if path is None or not path.exists():
                continue
            files = find_files(
                path, AUDIO | {".tar", ".npy", "", ".txt", ".tsv", ".csv", ".utt2spk"}
            )
            for file in files if path.is_dir() else [path]:
                # A link that leads nowhere is told when the recordings are opened.
                status = file.stat() if file.exists() else file.lstat()
                line = f"{key} {file} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def cli(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run(make_parser(), main, argv)


if __name__ == "__main__":
    sys.exit(cli())
