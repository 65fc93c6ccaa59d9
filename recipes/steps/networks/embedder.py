"""Stage 7: embeddings of all recordings by the network of ``--embedder``.

It is not trained here, so all folds share its vectors, also those that calibration is learnt from.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from dnn.embedders.extraction import RECORDINGS_PER_SHARD, Embedded, EmbedShard, joined
from dnn.embedders.model import files_of
from ivector.base.files import VECTORS, load_model, save_model, write_text
from ivector.base.foreign.boundary import foreign
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.data import Row, read_data_dir
from recipes.engine.marks import digest
from recipes.engine.run import Job, Run
from recipes.engine.stage import resume_folder
from recipes.experiment.cohort import read_others
from recipes.experiment.vectors import write_vectors
from recipes.steps.features import state

FILE = "embeddings.npz"
_KIND = "embeddings of a shard"


@dataclass(frozen=True)
class Kept:
    """Embeds a shard once: what a former run left is taken as it is."""

    embed: EmbedShard
    folder: Path

    def __call__(self, job: tuple[int, list[Row]]) -> Embedded:
        """Embeddings of a numbered shard."""
        index, recordings = job
        path = self.folder / f"{index}.npz"
        if not path.exists():
            made = self.embed(recordings)
            arrays = {"ids": np.array(made.ids, str), "vectors": made.vectors}
            save_model(path, _KIND, arrays, {"skipped": made.skipped})
            return made
        arrays, options = load_model(path, _KIND, VECTORS)
        with foreign(path, _KIND, "remove it"):
            return Embedded(arrays["ids"].tolist(), arrays["vectors"], dict(options["skipped"]))


def shard_of(values: SimpleNamespace) -> EmbedShard:
    """What embeds recordings by the options of the system."""
    return EmbedShard(
        values.embedder, values.embedder_front_end, values.embedder_rate, values.channel,
        values.strict,
    )  # fmt: skip


def embed(values: SimpleNamespace, recordings: list[Row], work: Path, nj: int) -> None:
    """Embed recordings into `work`."""
    one = shard_of(values)
    one.probe()
    shards = list(enumerate(make_shards(recordings, RECORDINGS_PER_SHARD)))
    parts = map_shards(Kept(one, resume_folder(work) / "embedded"), shards, nj=nj)
    ids, vectors, skipped = joined(progress(parts, len(shards), "embeddings", "shard"))
    write_text(work / "skipped", "".join(f"{utt} {why}\n" for utt, why in skipped.items()))
    write_vectors(work / FILE, ids, vectors.astype(np.float64))


def jobs(run: Run) -> Iterator[Job]:
    """The embeddings of all recordings, and of others beside the corpus's."""
    task = next(iter(run.tasks("networks.embedder")), None)
    if task is None:
        return
    values = task.values
    options = {
        "front_end": values.embedder_front_end, "rate": values.embedder_rate,
        "channel": values.channel, "strict": values.strict,
    }  # fmt: skip
    network = digest(*files_of(values.embedder))
    wanted = {"embeddings": list(read_data_dir(run.data / "wav").recordings())}
    for name in task.others():
        others = read_others(getattr(values, name), name, values.strict)
        wanted[f"{name}_embeddings"] = others
    for kind, recordings in wanted.items():
        upstream = {"network": network, "recordings": state(recordings)}
        body = functools.partial(embed, values, recordings)
        code = run.code("networks.embedder")
        yield Job(task.folder(kind), options, upstream, body, code, run.forced, alone=True)
