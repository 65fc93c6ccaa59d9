"""What a comparison of systems is made of: two systems, parts of the trials, single trials."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.intervals.results import Difference, McNemar
from fusion.metrics.table import Key


@dataclass(frozen=True)
class Disagreement:
    """A trial, and the log-likelihood ratios that two systems give it on one scale.

    Examples
    --------
    >>> from fusion import compare_systems
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> systems = {name: part.scores[name] for name in ("cosine", "plda")}
    >>> found = compare_systems(systems, part.target, *part.sides, n_bootstrap=200)
    >>> most = found.versus[0].disagreements[0]
    >>> part.ids[part.enrol[most.trial]], part.ids[part.test[most.trial]], most.target
    ('spk011-2', 'spk011-3', True)
    >>> most.a > most.b
    True
    """

    trial: int
    target: bool
    a: float
    b: float


@dataclass(frozen=True)
class Part:
    """A comparison on a part of the trials.

    Parameters
    ----------
    condition, name : str
        The column and its value or range.
    n_targets, n_nontargets, n_speakers : int
    differences : dict
        As of `fusion.intervals.paired.PairedResult`; empty if the part is too small.

    Examples
    --------
    >>> from fusion import compare_systems
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> systems = {name: part.scores[name] for name in ("cosine", "plda")}
    >>> gender = [part.gender[k] for k in part.enrol]
    >>> found = compare_systems(
    ...     systems, part.target, *part.sides, conditions={"gender": gender}, n_bootstrap=200
    ... )
    >>> [(p.condition, p.name, p.n_speakers) for p in found.versus[0].parts]
    [('gender', 'f', 20), ('gender', 'm', 20)]
    """

    condition: str
    name: str
    n_targets: int
    n_nontargets: int
    n_speakers: int
    differences: dict[Key, Difference]


@dataclass(frozen=True)
class Versus:
    """One system against the first.

    Parameters
    ----------
    name : str
    differences : dict
        By metric and number of the operating point; this system less the first.
    p_values : dict
        P-values corrected for the number of systems (Holm).
    thresholds : tuple of float
        Of the first system and of this one, for the tests of decisions.
    tests : dict of str to McNemar
        On ``all`` trials, ``targets`` and ``nontargets``.
    parts : list of Part
    disagreements : list of Disagreement
        Largest first.
    scale : str
        On which scale they disagree, in words.

    Examples
    --------
    >>> from fusion import compare_systems
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> systems = {name: part.scores[name] for name in ("cosine", "plda")}
    >>> plda = compare_systems(systems, part.target, *part.sides, n_bootstrap=200).versus[0]
    >>> plda.name
    'plda'
    >>> eer = plda.differences["eer", 0]
    >>> round(eer.a, 2), round(eer.b, 2), plda.p_values["eer", 0] < 0.05
    (0.09, 0.1, False)
    """

    name: str
    differences: dict[Key, Difference]
    p_values: dict[Key, float]
    thresholds: tuple[float, float]
    tests: dict[str, McNemar]
    parts: list[Part]
    disagreements: list[Disagreement]
    scale: str
