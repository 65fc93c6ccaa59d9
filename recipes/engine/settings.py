"""Options of ``run.sh``: all of them in one table, and their values for a run and for each system.

Values come, the later over the earlier, from the defaults, ``recipes/conf/CORPUS.conf``,
``CORPUS.TRUNK.conf`` and ``CORPUS.SYSTEM.conf``, the files given with ``--config``, and the command
line. All are read and refused before anything is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from ivector.base.errors import UsageError
from recipes.engine.options import (
    FILE,
    FLAG,
    FOLDER,
    Given,
    Option,
    Table,
    choice,
    number,
    optional,
    pair,
    several,
    text_kind,
    whole,
)
from recipes.systems import ADAPTED, DEFAULT_SYSTEMS, OTHERS, STAGES, SYSTEMS, trunk_of

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "recipes" / "conf"
LAST = len(STAGES) - 1
NAMES = "recipes.systems:SYSTEMS"
NORMS = "plda.normalisation:NORMS"
SCORINGS = "plda.models:BACKENDS"

TABLE = Table(
    {
        "What to run": (
            Option("corpus", "synthetic", choice(of="recipes.corpora:NAMES"),
                   "which corpus; synthetic is generated and needs no folder"),
            Option("corpus_dir", "", FOLDER, "where its recordings are", must_exist=False),
            Option("protocol", "", FOLDER, "folder corpus: fold*/{train.utt2spk,enroll,trials}; "
                   "empty makes one", must_exist=True),
            Option("prepare_options", "", text_kind(allowed="options of recipes.prepare CORPUS"),
                   "more for stage 0"),
            Option("system", "all", choice("all", of=NAMES), "run one of the systems alone"),
            Option("systems", " ".join(DEFAULT_SYSTEMS), several(of=NAMES, least=1),
                   "the systems that all of them are"),
            Option("stage", "", optional(whole(0, LAST), "continue what is missing"),
                   "first stage to run, even if it is done already"),
            Option("stop_stage", str(LAST), whole(0, LAST), "last stage to run"),
            Option("resume", "false", FLAG,
                   "from --stage on, too, continue what is missing instead of repeating it"),
            Option("keep_finished", "false", FLAG,
                   "leave finished stages whose code has changed since"),
            Option("dry_run", "false", FLAG, "say what would be run, and why, and do nothing"),
            Option("strict", "false", FLAG,
                   "stop at the first bad recording instead of skipping and counting it"),
            Option("portable", "false", FLAG, "the same bytes on every x86-64, with and without "
                   "AVX; takes longer, see docs/scaling.md"),
            Option("device", "auto",
                   text_kind(r"auto|cpu|cuda(:\d{1,3})?", "auto, cpu or cuda[:N]"),
                   "auto trains networks on a GPU if there is one; a named one extracts, too, and "
                   "does the heavy sums of UBM, statistics, total variability and i-vectors"),
            Option("seed", "0", whole(0, 2**32 - 1), "of everything random"),
            Option("data", "", FOLDER, "data folder; empty: data/CORPUS"),
            Option("exp", "", FOLDER, "experiment folder; empty: exp/CORPUS"),
            Option("verbose", "false", FLAG, "or -v: show every log line, not only in the logs"),
        ),
        "Machine (changes no result)": (
            Option("nj", "", optional(whole(1, 4096), "all cores"), "processes"),
            Option("backend", "loky", choice(of="ivector.base.parallel.workers:BACKENDS"),
                   "what runs shards: processes, threads of one process, or a Dask cluster"),
            Option("scheduler", "", text_kind(allowed="tcp://HOST:PORT or the scheduler's file"),
                   "of a Dask cluster; empty starts --nj processes here"),
            Option("memory", "2048", whole(1), "MiB that each process may take"),
            Option("disk", "0", whole(0), "MiB that a stage may write; 0: what is free"),
        ),
        "Features": (
            Option("mfcc_config", "recipes/conf/mfcc_16k.conf", FILE,
                   "MFCC options, one --name=value a line; telephone speech: mfcc_8k.conf",
                   must_exist=True),
            Option("vad_config", "recipes/conf/vad.conf", FILE, "options of the energy VAD",
                   must_exist=True),
            Option("channel", "", optional(text_kind(r"\d{1,3}|mean", "0, 1, ... or mean"),
                   "recordings with several are skipped"), "of recordings with several"),
            Option("feature_storage", "float32", choice(of="recipes.experiment.storage:STORAGES"),
                   "two-byte: half the disk; compressed: a quarter, costs accuracy"),
            Option("delta_order", "2", whole(0, 10), "times that differences are appended"),
            Option("delta_window", "3", whole(1, 100), "frames on either side of a difference"),
            Option("normalisation", "cmn", choice(of="ivector.pipeline:NORMALISATIONS"),
                   "of the features of a recording; sliding or whole mean, and variance"),
            Option("cmn_window", "300", whole(1, 10**6), "frames of the sliding mean"),
        ),
        "UBM and i-vectors": (
            Option("num_components", "64", whole(1, 10**6), "Gaussians of the UBM"),
            Option("covariance", "full", choice("full", "diagonal"),
                   "of the UBM of the i-vectors; diagonal is faster"),
            Option("num_iters_diag", "20", whole(0, 10**4), "EM iterations of the diagonal UBM"),
            Option("num_iters_full", "4", whole(0, 10**4), "and of the full one"),
            Option("num_gselect", "20", whole(1, 10**6), "Gaussians that a frame is given to"),
            Option("min_post", "0.025", number(0, 0.5), "posteriors below are pruned"),
            Option("statistics_dtype", "float32", choice("float32", "float16"),
                   "float16: a third of the disk, or less where speech is short"),
            Option("statistics_prune", "0", number(0, 0.5), "float16: share of an utterance's "
                   "frames that is dropped with its rarest Gaussians"),
            Option("rank", "100", whole(1, 10**5), "dimension of the i-vectors"),
            Option("num_iters_tv", "5", whole(1, 10**4), "EM iterations of total variability"),
            Option("tv_init", "random", choice("random", "pca"),
                   "start of the EM: Kaldi's, or closer to the training data"),
            Option("parametrisation", "kaldi", choice("kaldi", "classical"),
                   "with a prior offset (Kaldi), or as Dehak and Kenny"),
        ),
        "Back-end and scores": (
            Option("lda_dim", "0", whole(0, 10**5), "dimensions that LDA keeps; 0: no LDA"),
            Option("total_covariance_factor", "0", number(0, 1),
                   "Kaldi's, of LDA: towards the total covariance"),
            Option("scoring", "plda", choice(of=SCORINGS), "how vectors are compared"),
            Option("plda_iters", "10", whole(1, 10**4), "EM iterations of PLDA"),
            Option("plda_smoothing", "0", number(0, 1),
                   "moves the within-class covariance towards the between-class one; little data"),
            Option("enrolment", "book", choice("book", "average"),
                   "several enrolment utterances: exact, or averaged as Kaldi does"),
            Option("score_norm", "none", choice("none", of=NORMS),
                   "against the training speakers, or those of --cohort or --adapt"),
            Option("cohort", "", FOLDER, "folder or data directory of recordings, without labels, "
                   "of other speakers than the trials': score normalisation of all systems is "
                   "by them", must_exist=True),
            Option("adapt", "", FOLDER, "folder or data directory of 5 recordings or more, without "
                   "labels, of the trials' domain and of other speakers: back-ends are adapted to "
                   "them where held-out ones gain by it; gmm-ubm-s and others that normalise take "
                   "them as the cohort, unless --cohort is given; others take nothing of them",
                   must_exist=True),
            Option("cohort_top", "200", whole(2, 10**9), "most similar of the cohort that "
                   "as and as2 take; of a smaller one all, which is said"),
            Option("relevance", "16", number(0, 1e9), "gmm-ubm: relevance factor of MAP"),
            Option("top_n", "10", whole(1, 10**6), "gmm-ubm: Gaussians scored in each frame"),
        ),
        "X-vectors": (
            Option("xvector_config", "", FILE, "file with the whole configuration of the network, "
                   "see docs/networks.md; the options that follow go over it",
                   must_exist=True),
            Option("xvector_model", "",
                   optional(choice(of="dnn.models:MODELS"), "the configuration's"),
                   "network; xvector is Kaldi's size, xvector-small a tenth of it"),
            Option("xvector_steps", "", optional(whole(1, 10**9), "the configuration's"),
                   "updates of its training, 300 in the preset"),
            Option("xvector_threads", "", optional(whole(1, 1024), "the configuration's"),
                   "of the CPU for each training; another number changes the last digits"),
            Option("xvector_frames", "",
                   optional(pair(whole(15, 10**6)), "the configuration's"),
                   "of a training crop, 100 200 in the preset"),
            Option("xvector_scoring", "cosine", choice(of=SCORINGS), "as --scoring, of embeddings"),
            Option("xvector_lda_dim", "0", whole(0, 10**5), "as --lda-dim, of embeddings"),
            Option("xvector_plda_smoothing", "0", number(0, 1),
                   "as --plda-smoothing, of embeddings"),
            Option("xvector_norm", "s", choice("none", of=NORMS), "as --score-norm, of embeddings"),
        ),
        "Embedder": (
            Option("embedder", "", FILE, "speaker network in an ONNX file, of the system embedder",
                   must_exist=True),
            Option("embedder_front_end", "",
                   optional(choice(of="dnn.embedders.front_ends:FRONT_ENDS"), "with --embedder"),
                   "what it takes of a recording: the toolkit that it comes from"),
            Option("embedder_rate", "16000", whole(1000, 384_000), "Hz that it was trained on"),
            Option("embedder_scoring", "cosine", choice(of=SCORINGS), "as --scoring, of its "
                   "embeddings"),
            Option("embedder_lda_dim", "0", whole(0, 10**5), "as --lda-dim, of its embeddings"),
            Option("embedder_plda_smoothing", "0", number(0, 1),
                   "as --plda-smoothing, of its embeddings"),
            # Of none, s, z, t, as on training speakers of hyke and speechocean762, by CAM++.
            Option("embedder_norm", "none", choice("none", of=NORMS), "as --score-norm, of its "
                   "embeddings"),
        ),
        "Calibration, fusion and report": (
            Option("dev_folds", "4", whole(2, 1000, also=(0,)), "parts of the training speakers, "
                   "each scored by systems trained on the others, to learn calibration and fusion "
                   "from; 0: neither. Few speakers make it fewer"),
            Option("dev_folds_used", "", optional(whole(1, 1000), "all"),
                   "so many of the parts only, where training takes long"),
            Option("dev_models", "5", whole(1, 1000), "models of each of their speakers"),
            Option("fusion_prior", "0.5", number(1e-9, 1 - 1e-9, open_ends=True),
                   "of a target, for which errors are weighed; 0.5 is Cllr"),
            Option("fusion_ridge", "0", number(0, 1e9), "penalty of large fusion weights"),
            Option("fusion_systems", "", several(of=NAMES), "which systems to fuse; empty: all"),
            Option("trust_calibration", "false", FLAG, "leave llr as they are also where the "
                   "recordings on trial are not like those of training"),
            Option("bootstrap", "1000", whole(20, 10**6, also=(0,)),
                   "replicates of the confidence intervals; 0: no intervals"),
            Option("pooled_only", "false", FLAG, "report no rows of single folds"),
        ),
    },
    ROOT,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All options of a run.

    Parameters
    ----------
    common : namespace
        Values of what does not depend on the system.
    of : mapping of str to namespace
        Values for each system.
    words : tuple of str
        As given.
    """

    common: SimpleNamespace
    of: Mapping[str, SimpleNamespace]
    words: tuple[str, ...]

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems that were asked for."""
        one = self.common.system
        return self.common.systems if one == "all" else (one,)

    @property
    def needs(self) -> list[str]:
        """Extras of the package that have to be installed."""
        wanted = {SYSTEMS[name].needs for name in self.systems} - {""}
        wanted |= {"dnn"} if self.common.device.startswith("cuda") else set()
        return sorted(wanted | ({"scale"} if self.common.backend == "dask" else set()))

    @property
    def others(self) -> tuple[str, ...]:
        """Options of recordings beside the corpus's that are given."""
        return tuple(name for name in OTHERS if getattr(self.common, name) is not None)

    @property
    def cohort(self) -> str:
        """Which of them normalises scores; empty: the training speakers do."""
        return self.others[0] if self.others else ""

    def takes(self, system: str, other: str) -> bool:
        """Whether a system takes recordings beside the corpus's."""
        normalises = other == self.cohort and self.normalises(system)
        return normalises or (other == "adapt" and self.adapts(system))

    def adapts(self, system: str) -> bool:
        """Whether a system's back-end is adapted, if the evidence is for it."""
        can = "adaptation" in SYSTEMS[system].steps and self.of[system].scoring in ADAPTED
        return can and self.common.adapt is not None

    def normalises(self, system: str) -> bool:
        """Whether a system's scores are normalised."""
        return self.of[system].score_norm != "none"

    def is_adaptive(self, system: str) -> bool:
        """Whether it is by the most similar of a cohort."""
        return self.normalises(system) and self.of[system].score_norm in _adaptive()


def read(words: Sequence[str], here: Path | None = None) -> Settings:
    """Settings of a command line.

    Parameters
    ----------
    words : sequence of str
    here : Path, optional
        Folder that the command was given in; default the current one.

    Raises
    ------
    UsageError
        In one line: which option, which value, what is allowed.
    """
    start = here or Path.cwd()
    given, configs = TABLE.read_arguments(words, start)
    files: dict[str, Given] = {}
    for path in configs:
        files.update(TABLE.read_config(path, path.parent if here is None else here))
    for name in ("corpus", "system"):
        if name in files:
            raise UsageError(
                f"{files[name].where}: the corpus and the system decide which configurations "
                f"are read; give --{name} on the command line"
            )
    corpus = TABLE.options["corpus"]
    chosen = given.get("corpus")
    label = corpus.read(chosen.text if chosen else corpus.default)
    mine = {**files, **given}
    base = _configured(label, [])
    common = _checked({**base, **mine}, mine)
    common.data = common.data or start / "data" / label
    common.exp = common.exp or start / "exp" / label
    of = {}
    for name in SYSTEMS:
        layers = {**_configured(label, [trunk_of(name), name]), **mine}
        of[name] = _of_system(name, _checked(layers, mine))
    settings = Settings(common, of, tuple(words))
    for name in settings.systems:
        _check_system(name, of[name])
    _check_others(settings)
    _check_embedder(settings, mine)
    if "cohort_top" in mine and not any(map(settings.is_adaptive, settings.systems)):
        raise UsageError(f"--cohort-top is of the norms {', '.join(_adaptive())}, which no system "
                         f"takes; give --score-norm as too, or leave it out; "
                         f"got {common.cohort_top}")  # fmt: skip
    return settings


def _check_others(settings: Settings) -> None:
    """Refuse recordings beside the corpus's that no system takes."""
    does = {"cohort": "normalises scores", "adapt": "adapts back-ends and normalises scores"}
    if "cohort" in settings.others:
        does["adapt"] = "adapts back-ends (beside --cohort, which normalises scores)"
    for other in settings.others:
        if not any(settings.takes(system, other) for system in settings.systems):
            cure = "give --score-norm too, or systems as gmm-ubm-s"
            if other != settings.cohort:
                cure = "give systems with PLDA or cosine scoring too, or leave it out"
            raise UsageError(f"--{other} {does[other]}, but none of {', '.join(settings.systems)} "
                             f"does; {cure}")  # fmt: skip


def _adaptive() -> list[str]:
    """Norms that take the most similar of a cohort."""
    from plda.normalisation import NORMS as KINDS

    return [name for name, kind in KINDS.items() if kind.adaptive]


def _configured(corpus: str, systems: Sequence[str]) -> dict[str, Given]:
    """Options of the toolkit's configurations of a corpus and of systems on it."""
    found: dict[str, Given] = {}
    for name in dict.fromkeys((corpus, *(f"{corpus}.{system}" for system in systems))):
        if (CONF / f"{name}.conf").is_file():
            found.update(TABLE.read_config(CONF / f"{name}.conf", ROOT, trusted=True))
    return found


def _of_system(name: str, values: SimpleNamespace) -> SimpleNamespace:
    """Values as a system takes them: some are fixed, some are taken from others."""
    for option, text in SYSTEMS[name].fixed.items():
        setattr(values, option, TABLE.options[option].trust(text))
    for option, other in SYSTEMS[name].takes.items():
        setattr(values, option, getattr(values, other))
    return values


def _check_system(name: str, values: SimpleNamespace) -> None:
    """Refuse options that contradict each other in a system, before anything is run."""
    own, trunk = SYSTEMS[name].steps, SYSTEMS[trunk_of(name)].steps
    is_of_ivectors = own.get("backend", LAST + 1) <= values.stop_stage and "ivectors" in trunk
    if is_of_ivectors and values.lda_dim > values.rank:
        raise UsageError(f"--lda-dim takes at most the --rank of the i-vectors, {values.rank}; "
                         f"got '{values.lda_dim}'; give both")  # fmt: skip


def _check_embedder(settings: Settings, typed: Mapping[str, Given]) -> None:
    """Refuse an embedder's options without the system, and the system without them.

    A command that runs one of several systems alone, or ends before, may have all their options.
    """
    common, first = settings.common, SYSTEMS["embedder"].steps["networks.embedder"]
    if "embedder" not in settings.systems:
        odd = next((name for name in typed if name.startswith("embedder")), None)
        if odd and common.system == "all" and common.stop_stage >= first:
            raise UsageError(f"{TABLE.options[odd].flag} is of the system embedder, which is not "
                             f"run; give --systems \"{' '.join(settings.systems)} embedder\" "
                             "too")  # fmt: skip
        return
    for name in ("embedder", "embedder_front_end"):
        if getattr(common, name) is None:
            raise UsageError(f"the system embedder needs {TABLE.options[name].flag}, which takes "
                             f"{TABLE.options[name].kind.allowed()}")  # fmt: skip


def _checked(given: Mapping[str, Given], typed: Mapping[str, Given]) -> SimpleNamespace:
    """Values of the options given; those that contradict each other are refused."""
    values = SimpleNamespace(**TABLE.values(given))
    if values.scheduler and values.backend != "dask":
        raise UsageError(f"--scheduler is of --backend dask, not of {values.backend}; "
                         f"got {values.scheduler!r}")  # fmt: skip
    if values.stage is not None and values.stage > values.stop_stage:
        raise UsageError(f"--stage {values.stage} comes after --stop-stage {values.stop_stage}; "
                         "--stage takes a stage up to that one")  # fmt: skip
    if values.system == "all" and not set(values.fusion_systems) <= set(values.systems):
        if "fusion_systems" in typed:
            odd = min(set(values.fusion_systems) - set(values.systems))
            raise UsageError(f"--fusion-systems: '{odd}' is not one of --systems, which are "
                             f"{' '.join(values.systems)}")  # fmt: skip
        # The corpus's own choice was made among systems that are not all run.
        values.fusion_systems = ()
    values.channel = values.channel and (
        values.channel if values.channel == "mean" else int(values.channel)
    )
    return values


def folder_of_command() -> Path:
    """Folder in which the user gave the command; ``run.sh`` works in another."""
    return Path(os.environ.get("RECIPE_HERE") or Path.cwd())
