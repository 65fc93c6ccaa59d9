"""Stage 0: data directories and trials of the corpus (`recipes.corpora`), made where they stay."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from ivector.base.errors import UsageError
from recipes import prepare
from recipes.engine.code import code_digest
from recipes.engine.run import Job, Run
from recipes.engine.settings import Settings


def options_of(settings: Settings) -> argparse.Namespace:
    """Options of the corpus, by its own parser; one that it does not take ends the program."""
    values = settings.common
    given = {"--corpus-dir": values.corpus_dir, "--protocol": values.protocol}
    words = [word for flag, value in given.items() if value for word in (flag, str(value))]
    words += ["--strict"] * values.strict + shlex.split(values.prepare_options)
    if {"-h", "--help"} & set(words):
        raise UsageError(
            "--prepare-options takes options of the corpus, and --help is none to run with; "
            f"python -m recipes.prepare {values.corpus} --help tells them"
        )
    return prepare.parse(values.corpus, words, values.data, "run.sh")


def jobs(run: Run) -> Iterator[Job]:
    """The data folder of the corpus."""
    arguments = options_of(run.settings)
    options = prepare.identifying(arguments)

    def body(work: Path, nj: int) -> None:
        prepare.make(arguments, nj)

    def upstream() -> dict[str, str]:
        return {"recordings and lists": prepare.fingerprint(options)}

    yield Job(
        run.data,
        {"corpus": arguments.corpus, **options},
        upstream(),
        body,
        code_digest(f"recipes.corpora.{arguments.corpus}"),
        run.forced,
        alone=True,
        in_place=upstream,
        gone=lambda: prepare.is_missing(run.data),
    )
