"""A run of the recipe: its folders, its systems, and the folds that a step has to do.

DATA/wav                          data directory of all recordings
DATA/fold<f>/                     train.utt2spk, enroll, trials
EXP/features                      static features and VAD decisions of all recordings
EXP/domain/fold<f>                how far the recordings on trial are from those of training
EXP/cohort, EXP/adapt             the same of recordings beside the corpus's (--cohort, --adapt)
EXP/embedder/embeddings           of all recordings; cohort_ and adapt_embeddings: of those
EXP/SYSTEM/<kind>/fold<f>         models, vectors and scores; kind: ubm, tv, network, ivectors,
                                  cohort, adapt, backend, adapted, scores; llr of one system alone
EXP/development/data/fold<f>-<p>  the training speakers of a fold cut into parts, each tested by
EXP/development/SYSTEM/<kind>/    systems trained on the others: what calibration is learnt from
EXP/fusion/llr/fold<f>            calibrations, fusion, log-likelihood ratios
EXP/report                        results.md, results.json, report.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ivector.gpu.device import open_device
from recipes.engine.code import code_digest
from recipes.engine.marks import digest, is_planned, require
from recipes.engine.settings import Settings
from recipes.experiment.protocol import folds, protocol_digest
from recipes.systems import COMMON, EXTRACTORS, SYSTEMS, runs, stage_of, trunk_of, with_trunks

Body = Callable[[Path, int], None]


@dataclass(frozen=True)
class Job:
    """One finished or missing result: a folder, what it is made of, and how.

    Parameters
    ----------
    target : Path
        The folder.
    options : mapping of str
        All that change the results.
    upstream : mapping of str to str
        Stamps of what it reads, by name.
    body : callable
        Makes it: of a folder to work in and a number of processes.
    code : str
        Digest of the code that it computes with.
    force : bool
        Make it again though it is there.
    alone : bool
        Never beside others, but with all processes for itself.
    in_place : callable, optional
        The result is made in `target` itself and not beside it; gives the stamps of what it read
        once it is made.
    gone : callable, optional
        Says what else is missing, if anything is.
    forced_by : str
        Why it is made again, in words.
    """

    target: Path
    options: Mapping[str, Any]
    upstream: Mapping[str, str]
    body: Body
    code: str = ""
    force: bool = False
    alone: bool = False
    in_place: Callable[[], Mapping[str, str]] | None = None
    gone: Callable[[], list[str]] | None = None
    forced_by: str = "asked for"


@dataclass(frozen=True)
class Part:
    """Folds that are trained and tested: those of the trials, or those within their training."""

    data: Path
    exp: Path
    force: bool = False


@dataclass(frozen=True)
class Task:
    """A fold of a part, for a system.

    Parameters
    ----------
    run : Run
    system : str
    part : Part
    fold : Path
        Its folder in the data.
    """

    run: Run
    system: str
    part: Part
    fold: Path

    @property
    def values(self) -> SimpleNamespace:
        """Options of the system."""
        return self.run.settings.of[self.system]

    @property
    def gpu(self) -> str | None:
        """The GPU that ``--device`` names, for all but the networks' training, else None.

        Asked for early, so that one that is not there is told before anything is computed.
        """
        if not self.values.device.startswith("cuda"):
            return None
        open_device(self.values.device)
        return self.values.device

    def on_gpu(self) -> dict[str, str]:
        """What a result's options tell of it: its numbers are rounded in another order."""
        return {} if self.gpu is None else {"device": "cuda"}

    def folder(self, kind: str, own: bool = False) -> Path:
        """Folder of a kind of result: of the system whose models are shared, or of its own."""
        system = self.system if own else trunk_of(self.system)
        if kind in COMMON:
            return self.run.exp / system / kind
        return self.part.exp / system / kind / self.fold.name

    def features(self) -> str:
        """Stamp of the features."""
        return require(self.run.features, 1)

    def normalising(self) -> dict[str, Any]:
        """Options of the normalisation of scores, those that change them."""
        kind = self.values.score_norm
        top = (
            {"cohort_top": self.values.cohort_top}
            if self.run.settings.is_adaptive(self.system)
            else {}
        )
        return {"score_norm": kind, **top}

    def cohort(self) -> dict[str, str]:
        """Stamp of recordings that normalise scores, by name; none where training speakers do.

        These do for the parts of the training speakers with ``--adapt``, whose recordings are of
        another domain than the parts' trials.
        """
        name = self.run.settings.cohort
        normalises = name and self.run.settings.normalises(self.system)
        if name == "adapt" and self.part.data != self.run.data:
            return {}
        return {"cohort": self.other(name)} if normalises else {}

    def other(self, name: str) -> str:
        """Stamp of recordings beside the corpus's: of their vectors, or features without any."""
        features = require(self.run.exp / name, 1)
        step = next((step for step in self.run.steps_of(self.system) if step in EXTRACTORS), None)
        if step is None:
            return features
        on = [features, *self._extractors(step)]
        return require(self.folder(name), stage_of(self.system, step), on=on)

    def outer(self) -> Task:
        """The same of the trials' fold whose training speakers these are; itself, if it is one."""
        run, name = self.run, self.fold.name.rpartition("-")[0]
        if self.part.data == run.data:
            return self
        return Task(run, self.system, Part(run.data, run.exp), run.data / name)

    def trained(self, kind: str, step: str) -> str:
        """Stamp of the UBM or network, which must be of these features and this training list."""
        training = digest(self.fold / "train.utt2spk")
        number = stage_of(self.system, step)
        return require(self.folder(kind), number, on=[self.features(), training])

    def vectors(self) -> str:
        """Stamp of the vectors, which must be of the extractor or network that is there now."""
        step = next(step for step in self.run.steps_of(self.system) if step in EXTRACTORS)
        models = self._extractors(step)
        return require(self.folder("ivectors"), stage_of(self.system, step), on=models)

    def vectors_of(self, models: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """What a step that extracts vectors makes, by kind, and the stamps that each is made of.

        `models` are those of the models; of recordings beside the corpus's those that a system
        takes.
        """
        protocol = protocol_digest(self.fold)
        found = {"ivectors": {"features": self.features(), **models, "protocol": protocol}}
        for name in self.others():
            found[name] = {name: require(self.run.exp / name, 1), **models}
        return found

    def others(self) -> list[str]:
        """Recordings beside the corpus's whose vectors a system takes that this one extracts."""
        settings = self.run.settings
        takers = [one for one in self.run.systems if trunk_of(one) == self.system]
        return [name for name in settings.others if any(settings.takes(s, name) for s in takers)]

    def _extractors(self, step: str) -> list[str]:
        """Stamps of the models that a step extracts vectors with."""
        return [
            require(self.folder(kind), stage_of(self.system, trained))
            for kind, trained in EXTRACTORS[step]
        ]

    def job(
        self,
        step: str,
        kind: str,
        options: Mapping[str, Any],
        upstream: Mapping[str, str],
        body: Body,
        alone: bool = False,
        by_name: Sequence[str] = (),
    ) -> Job:
        """The job that a step has with this fold; its results are the system's own.

        `by_name` are modules of the project that it takes from tables.
        """
        code, target = self.run.code(step, *by_name), self.folder(kind, own=True)
        return Job(target, options, upstream, body, code, self.part.force, alone)


@dataclass
class Run:
    """What the steps of a stage are given.

    Parameters
    ----------
    settings : Settings
    stage : int
        Number of the stage.
    forced : bool
        What the stage makes of the trials' folds is made again though it is there.
    say : callable
        Tells a result to who has given the command.
    """

    settings: Settings
    stage: int
    forced: bool = False
    say: Callable[[str], None] = print
    _codes: dict[tuple[str, ...], str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """Data folder."""
        return self.settings.common.data

    @property
    def exp(self) -> Path:
        """Experiment folder."""
        return self.settings.common.exp

    @property
    def features(self) -> Path:
        """Folder of the features of all recordings."""
        return self.exp / "features"

    @property
    def cohort(self) -> Path:
        """Folder of the features of the recordings that normalise scores."""
        return self.exp / self.settings.cohort

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems that were asked for."""
        return self.settings.systems

    @property
    def development(self) -> Part:
        """The training speakers of the folds, cut into parts."""
        home = self.exp / "development"
        return Part(home / "data", home)

    def parts(self) -> Iterator[Part]:
        """The trials, and the training speakers among themselves where these are cut."""
        yield Part(self.data, self.exp, self.forced)
        if self.settings.common.dev_folds:
            yield self.development

    def tasks(self, step: str) -> Iterator[Task]:
        """Every fold of every system that has a step in this stage."""
        for part in self.parts():
            if is_planned(part.data):  # what its folds will be is not known
                continue
            found = folds(part.data, none_is_fine=part.data != self.data)
            for system in with_trunks(self.systems):
                if self._runs(system, step):
                    yield from (Task(self, system, part, fold) for fold in found)

    def unknown_jobs(self, steps: Iterable[str]) -> Iterator[Job]:
        """What steps of systems would do on folds that a dry run cannot know yet."""
        if not is_planned(self.data):
            return
        for step in steps:
            for system in with_trunks(self.systems):
                if self._runs(system, step):
                    target = self.exp / system / f"({step})"
                    yield Job(target, {}, {"folds": "planned: stage 0"}, lambda *_: None)

    def _runs(self, system: str, step: str) -> bool:
        """Whether a system has a step in this stage."""
        wanted = step != "adaptation" or self.settings.adapts(system)
        return wanted and runs(system, step, self.systems) and stage_of(system, step) == self.stage

    @staticmethod
    def steps_of(system: str) -> Sequence[str]:
        """Steps of a system, and those of its trunk."""
        return [*SYSTEMS[trunk_of(system)].steps, *SYSTEMS[system].steps]

    def code(self, step: str, *by_name: str) -> str:
        """Digest of the code that a step computes with, and of modules that it takes by name."""
        names = f"recipes.steps.{step}", *by_name
        if names not in self._codes:
            self._codes[names] = code_digest(*names)
        return self._codes[names]
