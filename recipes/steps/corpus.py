"""Stage 0: data directories and trials of the corpus (`recipes.corpora`), made where they stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipes.engine.code import code_digest
from recipes.engine.run import Job, Run
from recipes.prepare import fingerprint, identifying, is_missing, make, parse


def jobs(run: Run) -> Iterator[Job]:
    """The data folder of the corpus."""
    values = run.settings.common
    given = {"corpus_dir": values.corpus_dir, "protocol": values.protocol}
    words = [w for key, value in given.items() if value
             for w in (f"--{key.replace('_', '-')}", str(value))]  # fmt: skip
    words += ["--strict"] * values.strict
    arguments = parse(values.corpus, [*words, *values.prepare_options.split()], run.data)
    options = identifying(arguments)

    def body(work: Path, nj: int) -> None:
        make(arguments, nj)

    def upstream() -> dict[str, str]:
        return {"recordings and lists": fingerprint(options)}

    yield Job(
        run.data, {"corpus": values.corpus, **options}, upstream(), body,
        code_digest(f"recipes.corpora.{values.corpus}"),
        run.forced, alone=True, in_place=upstream, gone=lambda: is_missing(run.data),
    )  # fmt: skip
