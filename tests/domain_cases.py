"""Pairs of domains for tests/benchmarks/domains.py: corpora, their degraded forms, systems.

F features of a recording; N recordings, M models, T tests; K parts of the training speakers
"""

from __future__ import annotations

import csv
import functools
import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
from scipy import signal
from sklearn.pipeline import Pipeline

from fusion.calibration.one_system import Calibration
from ivector import DiagonalGMM, FrontEnd, FullGMM, TotalVariability
from ivector.base.domain import Domain
from ivector.features.audio import FULL_SCALE, read_audio
from ivector.features.extractors import MFCC
from ivector.features.vad import EnergyVAD, voiced_or_loudest
from ivector.measures import groups, measure, resolution
from ivector.statistics import baum_welch
from plda import PLDA, Center, LengthNorm, ScoreNorm, adapt_backend
from recipes.steps.features import read_options

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "corpora"
CORPORA = {"so": "speechocean762", "hyke": "hyke", "li": "librispeech_test_other"}
N_PARTS, N_MODELS, COHORT, RELEVANCE = 4, 5, 200, 16.0


@dataclass(frozen=True)
class Sizes:
    """A source: corpus and rate, which half of its speakers is tested, sizes of its systems."""

    corpus: str
    half: int
    targets: str
    components: int = 32
    rank: int = 120
    smoothing: float = 0.1
    gaussians: int = 256
    normalisation: str = "global_cmn"


_telephone = functools.partial(
    Sizes, components=16, rank=80, smoothing=0.3, gaussians=128, normalisation="cmn"
)
# The first target of each is its own corpus: the control.
SOURCES = {
    "A0": Sizes("so8", 0, "so8-clean hyke8-clean so8-noise so8-band so8-gsm so8-speed"),
    "A1": Sizes("so8", 1, "so8-clean so8-reverb li8-clean"),
    "B0": _telephone("hyke8", 0, "hyke8-clean so8-clean hyke8-noise hyke8-gsm hyke8-speed"),
    "B1": _telephone("hyke8", 1, "hyke8-clean hyke8-reverb so8-gsm"),
    "C0": Sizes("so16", 0, "so16-clean li16-clean so16-noise so16-band so16-mp3 so16-reverb"),
    "C1": Sizes("so16", 1, "so16-clean so16-speed"),
}


@functools.lru_cache
def _noises() -> list[np.ndarray]:
    folder = SHARED / "noise_esc10"
    return [read_audio(folder / row["path"], 16000, None)[0] for row in _manifest(folder)]


def _manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _noisy(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    noise = signal.resample_poly(_noises()[rng.integers(len(_noises()))], rate // 8000, 2)
    noise = np.tile(noise, -(-len(x) // len(noise)) + 1)
    start = rng.integers(len(noise) - len(x))
    noise = noise[start : start + len(x)] + 1e-3 * rng.normal(size=len(x))
    return x + noise * np.sqrt(np.mean(x**2) / np.mean(noise**2) / 10)


def _coded(x: np.ndarray, rate: int, kind: str) -> np.ndarray:
    form = {"gsm": ("WAV", "GSM610"), "mp3": ("MP3", "MPEG_LAYER_III")}[kind]
    more = {"compression_level": 0.95} if kind == "mp3" else {}
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.clip(x / 32768, -1, 1), rate, format=form[0], subtype=form[1], **more
    )
    buffer.seek(0)
    return soundfile.read(buffer)[0] * 32768


def _echoing(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A room with a reverberation time of 0.4 s, the direct sound as strong as the rest."""
    time = np.arange(int(0.4 * rate)) / rate
    response = rng.normal(size=len(time)) * np.exp(-time * 6.9 / 0.4)
    response[0] = np.sqrt((response[1:] ** 2).sum())
    return signal.fftconvolve(x, response)[: len(x)] / (2 * response[0])


def degraded(x: np.ndarray, rate: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Samples as another domain would have them."""
    x = x.astype(np.float64)
    if kind == "noise":
        return _noisy(x, rate, rng)
    if kind == "band":
        sections = signal.butter(6, [300, 3400], "band", fs=rate, output="sos")
        return signal.sosfilt(sections, x)
    if kind in ("gsm", "mp3"):
        return _coded(x, rate, kind)
    if kind == "speed":
        return signal.resample_poly(x, 10, 11)
    return _echoing(x, rate, rng) if kind == "reverb" else x


class Recordings:
    """Features of a corpus in one of its forms, ``so8-noise`` for instance."""

    def __init__(self, name: str, work: Path):
        path = work / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **_features(name))
        kept = np.load(path)
        self.name, self.speakers, self.measures = name, kept["speakers"], kept["measures"]
        ends = np.cumsum(kept["lengths"])
        self._static, self._voiced = kept["static"], kept["voiced"]
        self._parts = list(zip(ends - kept["lengths"], ends))

    def __len__(self) -> int:
        return len(self.speakers)

    @functools.lru_cache  # noqa: B019  # as long as the run
    def frames(self, row: int, normalisation: str) -> np.ndarray:
        """Of a recording, as models see them."""
        part = slice(*self._parts[row])
        front = FrontEnd(normalisation=normalisation)
        return front.apply(self._static[part], self._voiced[part])

    def all(self, normalisation: str, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """Of some recordings."""
        chosen = range(len(self)) if rows is None else rows.tolist()
        return [self.frames(row, normalisation) for row in chosen]


def _features(name: str) -> dict[str, np.ndarray]:
    corpus, _, kind = name.partition("-")
    letters, rate = (
        corpus.rstrip("0123456789"),
        1000 * int(corpus.strip("abcdefghijklmnopqrstuvwxyz")),
    )
    folder, conf = SHARED / CORPORA[letters], ROOT / "recipes" / "conf"
    mfcc = MFCC(**read_options(conf / f"mfcc_{rate // 1000}k.conf"), full_scale=FULL_SCALE)
    vad = EnergyVAD(**read_options(conf / "vad.conf"), full_scale=FULL_SCALE)
    static, voiced, measures, speakers = [], [], [], []
    for number, row in enumerate(_manifest(folder)):
        samples, _ = read_audio(folder / row["path"], rate, None)
        if kind != "clean":
            rng = np.random.default_rng([number, len(kind)])
            samples = np.clip(degraded(samples, rate, kind, rng), -32768, 32767)
        static.append(mfcc.transform(samples.astype(np.float32)))
        voiced.append(voiced_or_loudest(static[-1], vad)[0])
        measures.append(measure(static[-1], voiced[-1]))
        speakers.append(letters + row["speaker"])
    return {
        "static": np.concatenate(static), "voiced": np.concatenate(voiced),
        "lengths": np.array([len(part) for part in static]),
        "measures": np.array(measures), "speakers": np.array(speakers),
    }  # fmt: skip


@dataclass
class System:
    """Models of the i-vector and the GMM-UBM system, trained on some speakers."""

    ubm: FullGMM
    extractor: TotalVariability
    backend: Pipeline
    gmm: DiagonalGMM
    sizes: Sizes

    @classmethod
    def train(cls, recordings: Recordings, rows: np.ndarray, sizes: Sizes) -> System:
        """On some rows."""
        frames = recordings.all("cmn", rows)
        stacked = np.concatenate(frames)
        start = DiagonalGMM(sizes.components, n_iter=20, random_state=0).fit(stacked)
        ubm = FullGMM(init=start, n_iter=4, num_gselect=20).fit(stacked)
        extractor = TotalVariability(
            rank=sizes.rank, n_iter=5, parametrisation="classical", random_state=0
        ).fit(baum_welch(ubm, frames, second_order=True), ubm=ubm)
        X = extractor.transform(baum_welch(ubm, frames))
        steps = Pipeline([("centre", Center()), ("length", LengthNorm())])
        plda = PLDA().fit(steps.fit_transform(X), recordings.speakers[rows])
        backend = Pipeline([*steps.steps, ("plda", plda.smooth(sizes.smoothing))])
        stacked = np.concatenate(recordings.all(sizes.normalisation, rows))
        gmm = DiagonalGMM(sizes.gaussians, n_iter=20, random_state=0).fit(stacked)
        return cls(ubm, extractor, backend, gmm, sizes)

    def vectors(self, recordings: Recordings, rows: np.ndarray | None = None) -> np.ndarray:
        """I-vectors (N, rank)."""
        return self.extractor.transform(baum_welch(self.ubm, recordings.all("cmn", rows)))

    def statistics(
        self, recordings: Recordings, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Zeroth (N, C) and first-order (N, C, F) statistics of the GMM-UBM."""
        found = baum_welch(self.gmm, recordings.all(self.sizes.normalisation, rows))
        return found.zeroth.astype(np.float32), found.first.astype(np.float32)

    def gmm_scores(
        self, statistics: tuple[np.ndarray, np.ndarray], models: list, tests: np.ndarray
    ) -> np.ndarray:
        """Linear scores (M, T) of models adapted by MAP, per frame: the GMM-UBM's, all but."""
        zeroth, first = statistics
        precision = 1 / self.gmm.covariances_
        means = np.stack([
            first[rows].sum(0) / (zeroth[rows].sum(0) + RELEVANCE)[:, None] for rows in models
        ])  # fmt: skip
        linear = (means * precision).reshape(len(models), -1) @ first[tests].reshape(
            len(tests), -1
        ).T
        square = (means**2 * precision).sum(axis=2) / 2 @ zeroth[tests].T
        return (linear - square) / np.maximum(zeroth[tests].sum(axis=1), 1)

    def normalised(
        self, statistics: tuple, models: list, tests: np.ndarray, cohort: np.ndarray
    ) -> np.ndarray:
        """The same with s-norm; each recording of the cohort is a model and a test."""
        alone = [[row] for row in cohort]
        against = self.gmm_scores(statistics, models, cohort)
        of_cohort = self.gmm_scores(statistics, alone, tests)
        norm = ScoreNorm("s").fit(against, of_cohort.T)
        return norm.transform(self.gmm_scores(statistics, models, tests))


def plda_scores(backend: Pipeline, X: np.ndarray, models: list, tests: np.ndarray) -> np.ndarray:
    """Scores (M, T), all enrolment recordings of a model together."""
    labels = np.repeat(np.arange(len(models)), [len(rows) for rows in models])
    Z = backend[:-1].transform(X)
    return backend[-1].scorer(Z[np.concatenate(models)], Z[tests], enrol_labels=labels).matrix()


class Source:
    """A training domain: its systems, those of its parts, and development scores."""

    def __init__(self, name: str, work: Path):
        self.sizes, self.work = SOURCES[name], work
        self.targets = self.sizes.targets.split()
        self.recordings = Recordings(self.targets[0], work)
        speakers = np.unique(self.recordings.speakers)
        self.name, self.others = name, speakers[self.sizes.half :: 2]
        self.training = speakers[1 - self.sizes.half :: 2]
        self.rows = self._rows(self.training)
        owners = self.recordings.speakers[self.rows]
        measures = self.recordings.measures[self.rows]
        n_measures = measures.shape[1]
        self.domain = Domain(measures, owners, groups(n_measures), resolution(n_measures))
        self.system = System.train(self.recordings, self.rows, self.sizes)
        self.backend = self.system.backend
        order = np.random.default_rng(0).permutation(len(self.training))
        self.held_out = [self.training[order[k::N_PARTS]] for k in range(N_PARTS)]
        kept = [np.setdiff1d(self.rows, self._rows(names)) for names in self.held_out]
        self.parts = [System.train(self.recordings, rows, self.sizes) for rows in kept]
        self._kept = kept

    def _rows(self, speakers: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(self.recordings.speakers, speakers))

    @functools.cached_property
    def _of_parts(self) -> list[tuple[np.ndarray, tuple]]:
        """Vectors and GMM statistics of the training recordings by every part's models."""
        return [
            (part.vectors(self.recordings, self.rows), part.statistics(self.recordings, self.rows))
            for part in self.parts
        ]

    def development(
        self, n_enrol: int, in_domain: list[np.ndarray] | None = None
    ) -> SimpleNamespace:
        """Scores of trials between held-out training speakers, of all parts.

        With vectors of another domain by the parts' extractors, back-ends are adapted to them but
        for their means.
        """
        found: dict[str, list] = {"plda": [], "gmm": [], "gmm_s": [], "target": []}
        place = {row: k for k, row in enumerate(self.rows)}
        for k, (part, (X, statistics)) in enumerate(zip(self.parts, self._of_parts)):
            owners = self.recordings.speakers[self.rows]
            models, tests = _trials_within(owners, self.held_out[k], n_enrol)
            cohort = np.array([place[row] for row in self._kept[k]])
            cohort = np.random.default_rng(k).permutation(cohort)[:COHORT]
            backend = part.backend
            if in_domain is not None:
                backend = _keeping_means(backend, in_domain[k])
            first, second = np.meshgrid(range(len(models)), range(len(tests)), indexing="ij")
            of_models = owners[[rows[0] for rows in models]]
            unlike = np.array([[test not in rows for test in tests] for rows in models])
            where = first[unlike], second[unlike]
            found["plda"].append(plda_scores(backend, X, models, tests)[where])
            found["gmm"].append(part.gmm_scores(statistics, models, tests)[where])
            found["gmm_s"].append(part.normalised(statistics, models, tests, cohort)[where])
            found["target"].append(of_models[where[0]] == owners[tests][where[1]])
        return SimpleNamespace(**{name: np.concatenate(rows) for name, rows in found.items()})


def _trials_within(
    owners: np.ndarray, speakers: np.ndarray, n_enrol: int
) -> tuple[list[list[int]], np.ndarray]:
    """Models of each speaker, as the recipe makes them, and tests."""
    models, tests = [], []
    for speaker in speakers:
        rows = np.flatnonzero(owners == speaker).tolist()
        for start in range(min(N_MODELS, len(rows))):
            models.append([rows[(start * n_enrol + k) % len(rows)] for k in range(n_enrol)])
        tests += rows
    return models, np.array(tests)


def _keeping_means(backend: Pipeline, X: np.ndarray) -> Pipeline:
    adapted, old = adapt_backend(backend, X, "kaldi")[-1], backend[-1]
    model = old.with_parameters(old.mean_, adapted.transform_, adapted.psi_)
    return Pipeline([*backend.steps[:-1], ("plda", model)])


class Pair:
    """Trials of a target and recordings of its other speakers, scored by a source's systems."""

    def __init__(self, source: Source, target: str, work: Path):
        self.source, self.name = source, f"{source.name} → {target}"
        self.is_control = target == source.targets[0]
        self.recordings = Recordings(target, work)
        self.measures = self.recordings.measures
        names = self.recordings.speakers
        corpus, own = target[:2], target[:2] == source.targets[0][:2]
        known = source.others if own else np.unique(names)
        order = known[np.random.default_rng(7).permutation(len(known))]
        self.n_speakers = {"so": 44 if own else 88, "hy": 30 if own else 43, "li": 6}[corpus]
        tried = sorted(order[: self.n_speakers])
        self.unlabelled = np.flatnonzero(np.isin(names, order[self.n_speakers :]))
        rows = [np.flatnonzero(names == name) for name in tried]
        self.rows_of_target = np.flatnonzero(np.isin(names, known))
        if corpus == "hy":  # few recordings: each is a model, tried against those after it
            self.models = [[row] for mine in rows for row in mine]
            self.tests = np.concatenate(rows)
            self._i, self._j = np.triu_indices(len(self.tests), 1)
        else:
            self.models = [mine[:3].tolist() for mine in rows]
            self.tests = np.concatenate([mine[3:] for mine in rows])
            found = np.indices((len(self.models), len(self.tests))).reshape(2, -1)
            self._i, self._j = found
        self.n_enrol = len(self.models[0])
        enrolled = names[[mine[0] for mine in self.models]]
        self._enrol, self._test = enrolled[self._i], names[self.tests][self._j]
        self.target = self._enrol == self._test
        self.vectors = source.system.vectors(self.recordings)

    @functools.cached_property
    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        return self.source.system.statistics(self.recordings)

    def scores(self, backend: Pipeline) -> np.ndarray:
        """Of the trials, by a back-end."""
        return plda_scores(backend, self.vectors, self.models, self.tests)[self._i, self._j]

    def gmm_scores(self, cohort: np.ndarray | None = None) -> np.ndarray:
        """Of the trials, by the GMM-UBM, with s-norm by recordings or without."""
        given = self._statistics, self.models, self.tests
        system = self.source.system
        found = system.gmm_scores(*given) if cohort is None else system.normalised(*given, cohort)
        return found[self._i, self._j]

    def inner_vectors(self, rows: np.ndarray) -> list[np.ndarray]:
        """Vectors of recordings by the extractors of the source's parts."""
        return [part.vectors(self.recordings, rows) for part in self.source.parts]

    def learnt_with_labels(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Llr by a calibration learnt on the other half of the speakers; which trials have one."""
        names = np.unique(self._enrol)
        half = names[np.random.default_rng(1).permutation(len(names)) < len(names) / 2]
        first, second = np.isin(self._enrol, half), np.isin(self._test, half)
        llr, judged = np.zeros(len(scores)), np.zeros(len(scores), bool)
        one, other = first & second, ~first & ~second
        for mine, learnt in ((one, other), (other, one)):
            calibration = Calibration().fit(scores[learnt], self.target[learnt])
            llr[mine] = calibration.transform(scores[mine])
            judged |= mine
        return llr, judged
