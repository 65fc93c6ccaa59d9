"""Features of a corpus as models see them: one utterance, or shards of frames, at a time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.budget import memory_limit
from ivector.base.errors import DataError, named
from ivector.base.files import load_model, read_lines, save_model
from ivector.base.foreign.schema import Field
from ivector.formats.arks import load_array, read_scp
from ivector.pipeline import FrontEnd

logger = logging.getLogger("recipe")

BYTES_PER_NUMBER = 4
KEPT_MIB = 256  # of prepared frames at most, and an eighth of what a process may take
_KEPT = "array of a shard"
Contents = tuple[tuple[int, int, int], ...]


class Located(NamedTuple):
    """An utterance and where its features and VAD decisions are.

    Workers are given these, as a table of all utterances would fill their memory.
    """

    utterance: str
    features: str
    vad: str


@dataclass(frozen=True)
class Corpus:
    """Features of a corpus as stage 1 left them, read one utterance at a time.

    Parameters
    ----------
    folder : Path
        ``EXP/features``.
    front_end : FrontEnd
        Deltas, normalisation and selection of voiced frames, applied on reading.
    cohort : Path, optional
        The same of a cohort (`recipes.experiment.cohort`), whose utterances are here, too.
    """

    folder: Path
    front_end: FrontEnd
    cohort: Path | None = None

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.folder,) if self.cohort is None else (self.folder, self.cohort)

    def locations(self) -> dict[str, tuple[str, str]]:
        """Map every usable utterance to the locations of its features and VAD decisions."""
        return _all_locations(self._folders, _contents(self._folders))

    def usable(self, utterances: list[str], what: str) -> list[str]:
        """Keep the utterances that have features; say how many have none."""
        table = self.locations()
        kept = [utt for utt in utterances if utt in table]
        if len(kept) < len(utterances):
            logger.warning(
                "%d of %d %s utterances have no features and are left out; see %s",
                len(utterances) - len(kept), len(utterances), what, self.folder / "skipped",
            )  # fmt: skip
        if not kept:
            raise DataError(f"{self.folder}: none of the {what} utterances has features")
        return kept

    def located(self, utterances: Iterable[str]) -> list[Located]:
        """Utterances with their places, for workers."""
        table = self.locations()
        return [Located(utt, *table[utt]) for utt in utterances]

    def frames(self, utterance: str | Located) -> np.ndarray:
        """Frames of one utterance as the models see them, (n_voiced, n_dims) float32."""
        if isinstance(utterance, str):
            utterance = Located(utterance, *self.locations()[utterance])
        kept = _prepared(self._folders, _contents(self._folders), self.front_end)
        return kept.get(utterance, self._prepare)

    def _prepare(self, utterance: Located) -> np.ndarray:
        name, features, vad = utterance
        voiced = load_array(name, vad) > 0.5
        with named(name):
            return self.front_end.apply(load_array(name, features), voiced)


class Prepared:
    """Frames of a corpus's utterances, kept once prepared if those of all of them fit.

    Every iteration of an EM reads all frames, and preparing them takes as long as a small model's
    statistics.

    Parameters
    ----------
    n_frames : int
        Voiced frames of the whole corpus.
    """

    def __init__(self, n_frames: int):
        self.n_frames = n_frames
        self._frames: dict[str, np.ndarray] = {}

    def get(self, utterance: Located, prepare: Callable[[Located], np.ndarray]) -> np.ndarray:
        """Frames of an utterance, prepared now unless they are kept."""
        found = self._frames.get(utterance.utterance)
        if found is None:
            found = prepare(utterance)
            room = min(KEPT_MIB, memory_limit() // 8 or KEPT_MIB)
            if self.n_frames * found.shape[1] * BYTES_PER_NUMBER <= room * 2**20:
                self._frames[utterance.utterance] = found
        return found


@functools.lru_cache(maxsize=2)
def _prepared(folders: tuple[Path, ...], _: Contents, __: FrontEnd) -> Prepared:
    return Prepared(sum(sum(voiced_counts(folder).values()) for folder in folders))


def content(path: Path) -> tuple[int, int, int]:
    """Stand-in for what a file holds: the key, beside its path, of what is kept of it.

    Workers live longer than stages, and a stage that is run again writes under the same paths.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return status.st_mtime_ns, status.st_size, status.st_ino


def _contents(folders: Iterable[Path]) -> Contents:
    return tuple(content(folder / "vad.scp") for folder in folders)


@functools.lru_cache(maxsize=4)
def _all_locations(folders: tuple[Path, ...], contents: Contents) -> dict[str, tuple[str, str]]:
    first, *others = [_locations(*one) for one in zip(folders, contents)]
    for other in others:
        if odd := first.keys() & other.keys():
            raise DataError(f"{folders[0]}: {min(odd)} is also the id of one beside the corpus")
        first = first | other
    return first


@functools.lru_cache(maxsize=4)
def _locations(folder: Path, _: tuple[int, int, int]) -> dict[str, tuple[str, str]]:
    feats, vad = (scp_here(folder, name) for name in ("feats", "vad"))
    if feats.keys() != vad.keys():
        odd = min(feats.keys() ^ vad.keys())
        raise DataError(f"{folder}: feats.scp or vad.scp lacks {odd}; run with --stage 1")
    return {utt: (feats[utt], vad[utt]) for utt in feats}


def scp_here(folder: Path, name: str) -> dict[str, str]:
    """Locations of a list's arrays, by utterance.

    The archives lie beside their list, also after the experiment was moved or copied.
    """

    def here(location: str) -> str:
        return str(folder / location.replace("\\", "/").rpartition("/")[2])

    return {utt: here(location) for utt, location in read_scp(folder / f"{name}.scp").items()}


def voiced_counts(folder: Path) -> dict[str, int]:
    """Voiced frames of every usable utterance."""
    rows = (line.split() for line in read_lines(folder / "utt2num_voiced"))
    return {utt: int(n) for utt, n in rows}


def frames_of(corpus: Corpus, shards: Iterable[Iterable[Located]]) -> Callable[[Any], int]:
    """Voiced frames of the next shard at each call, for `progress`."""
    counts = voiced_counts(corpus.folder)
    sums = iter([sum(counts[one.utterance] for one in shard) for shard in shards])
    return lambda _: next(sums)


@dataclass(frozen=True)
class FrameShard:
    """Loads the frames of some utterances as one block (n_frames, n_dims)."""

    corpus: Corpus
    utterances: tuple[Located, ...]

    def __call__(self) -> np.ndarray:
        return np.concatenate([self.corpus.frames(utt) for utt in self.utterances])


def frame_shards(corpus: Corpus, utterances: list[str], memory_mb: int) -> list[FrameShard]:
    """Cut utterances into shards whose frames fill at most an eighth of the memory budget.

    An eighth, as a shard is held by two workers beside its float32 products.
    """
    counts = voiced_counts(corpus.folder)
    dims = corpus.frames(utterances[0]).shape[1]
    limit = max(1, memory_mb * 2**20 // 8 // (dims * BYTES_PER_NUMBER))
    # A shard cap that does not depend on the corpus keeps two workers busy on small ones too.
    limit = min(limit, 50_000)
    shards: list[list[str]] = [[]]
    filled = 0
    for utt in utterances:
        if shards[-1] and filled + counts[utt] > limit:
            shards.append([])
            filled = 0
        shards[-1].append(utt)
        filled += counts[utt]
    return [FrameShard(corpus, tuple(corpus.located(shard))) for shard in shards]


@dataclass(frozen=True)
class Kept:
    """Computes an array a shard once: what a former run left is taken as it is.

    Parameters
    ----------
    function : callable
        Of a shard; returns an ndarray.
    folder : Path
        Gets a file for each shard; in a stage's `resume_folder`.
    """

    function: Callable[[Any], np.ndarray]
    folder: Path

    def __call__(self, job: tuple[int, Any]) -> np.ndarray:
        index, shard = job
        path = self.folder / f"{index}.npz"
        if not path.exists():
            array = self.function(shard)
            save_model(path, _KEPT, {"array": array}, {})
            return array
        return load_model(path, _KEPT, {"array": Field(None)})[0]["array"]
