"""The tables of the recipe: its stages, and the systems that it trains and scores.

A system says which steps it runs and in which stage, whose models it shares, and which options are
fixed for it. ``--system``, ``--systems``, the order of the steps, what is asked of whom when
something is missing, and the Kubeflow pipeline come from here. A new system is an entry in
`SYSTEMS`, and a module in `recipes.steps` where it does something new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """A stage of ``run.sh``: one process, which runs its steps for every system that has them.

    Parameters
    ----------
    name : str
        As the console shows it.
    steps : tuple of tuple of str
        Modules of `recipes.steps`, one group after the other; those of a group side by side.
    share : float
        Of the time of a run of the default systems, roughly: what an ETA is told from.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    share: float


STAGES = (
    Stage("corpus", (("corpus",), ("development",)), 20),
    Stage("features", (("features",), ("domain",)), 4),
    Stage("UBM", (("ubm",),), 25),
    Stage("total variability", (("total_variability",),), 10),
    Stage("i-vectors", (("ivectors",),), 6),
    Stage("back-end", (("backend",), ("adaptation",)), 2),
    Stage("scores", (("scores", "gmm_ubm"),), 8),
    Stage("networks", (("networks.xvector", "networks.embedder"),), 300),
    Stage(
        "embeddings and scores",
        (("networks.xvectors", "networks.embeddings"), ("backend",), ("adaptation",), ("scores",)),
        30,
    ),
    Stage("calibration and fusion", (("fusion",),), 5),
    Stage("report", (("report",),), 8),
)


@dataclass(frozen=True)
class System:
    """A way from features to scores.

    Parameters
    ----------
    about : str
    steps : mapping of str to int
        Its steps and their stages; those of its trunk come before.
    trunk : str
        System whose models it shares; empty for its own.
    fixed : mapping of str to str
        Options that have one value for it.
    takes : mapping of str to str
        Options that take their value from another one.
    needs : str
        Extra of the package that it wants installed.
    network : bool
        Its training gains from a GPU.
    """

    about: str
    steps: Mapping[str, int]
    trunk: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""
    network: bool = False


# Kinds of `plda.normalisation.NORMS`, which cannot be asked before the packages are installed.
NORMS = ("z", "t", "zt", "s", "as", "as2")
SYSTEMS: dict[str, System] = {
    "ivector": System(
        "i-vectors with PLDA",
        {
            "ubm": 2,
            "total_variability": 3,
            "ivectors": 4,
            "backend": 5,
            "adaptation": 5,
            "scores": 6,
        },
    ),
    "cosine": System(
        "the same i-vectors, compared by the cosine",
        {"backend": 5, "adaptation": 5, "scores": 6},
        trunk="ivector",
        fixed={"scoring": "cosine"},
    ),
    "gmm-ubm": System(
        "models adapted from a UBM by MAP",
        {"ubm": 2, "gmm_ubm": 6},
        fixed={"covariance": "diagonal"},
    ),
    **{
        f"gmm-ubm-{kind}": System(
            f"the same models with {kind}-norm",
            {"gmm_ubm": 6},
            trunk="gmm-ubm",
            fixed={"score_norm": kind},
        )
        for kind in NORMS
    },
    "xvector": System(
        "embeddings of a network",
        {
            "networks.xvector": 7,
            "networks.xvectors": 8,
            "backend": 8,
            "adaptation": 8,
            "scores": 8,
        },
        takes={
            "scoring": "xvector_scoring",
            "score_norm": "xvector_norm",
            "lda_dim": "xvector_lda_dim",
            "plda_smoothing": "xvector_plda_smoothing",
        },
        needs="dnn",
        network=True,
    ),
    "embedder": System(
        "embeddings of a network in an ONNX file, which is there already",
        {
            "networks.embedder": 7,
            "networks.embeddings": 8,
            "backend": 8,
            "adaptation": 8,
            "scores": 8,
        },
        takes={
            "scoring": "embedder_scoring",
            "score_norm": "embedder_norm",
            "lda_dim": "embedder_lda_dim",
            "plda_smoothing": "embedder_plda_smoothing",
        },
        needs="onnx",
    ),
}
DEFAULT_SYSTEMS = ("ivector", "cosine", "gmm-ubm")
# Steps that a system runs for those whose trunk it is, too.
SHARED = frozenset({"ubm", "total_variability", "ivectors"})
# Steps that leave vectors, and the models that they take: kind of folder and the step that trains.
EXTRACTORS: dict[str, tuple[tuple[str, str], ...]] = {
    "ivectors": (("tv", "total_variability"),),
    "networks.xvectors": (("network", "networks.xvector"),),
    "networks.embeddings": (("embeddings", "networks.embedder"),),
}
# How ``--adapt`` adapts back-ends: a method of `plda.domains.methods` for each ``--scoring``.
ADAPTED = {"plda": "kaldi", "cosine": "centring"}
# Options that name recordings beside the corpus's: their features are in EXP/NAME, their vectors in
# EXP/SYSTEM/NAME.
OTHERS = ("cohort", "adapt")
# Kinds of folder that a system has once, as nothing in them depends on a fold.
COMMON = frozenset({"embeddings", *(f"{name}_embeddings" for name in OTHERS)})
# What stage 10 and the models of calibration call the systems' joint decision.
FUSED = "fusion"


def trunk_of(name: str) -> str:
    """The system whose models a system takes: its own name, if it trains them itself."""
    return SYSTEMS[name].trunk or name


def with_trunks(names: tuple[str, ...]) -> tuple[str, ...]:
    """Systems and the trunks that they need, in the table's order."""
    wanted = {*names, *(trunk_of(name) for name in names)}
    return tuple(name for name in SYSTEMS if name in wanted)


def runs(name: str, step: str, asked_for: tuple[str, ...]) -> bool:
    """Whether a system runs a step: one that is a trunk only runs what others need of it."""
    if step not in SYSTEMS[name].steps:
        return False
    return name in asked_for or step in SHARED


def stage_of(name: str, step: str) -> int:
    """Number of the stage in which a system's step is run; its trunk's, where it has none."""
    own = SYSTEMS[name].steps
    return own[step] if step in own else SYSTEMS[trunk_of(name)].steps[step]
