"""The guard of `python -m fusion.fuse`: what it looks at, prints and does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from fusion.calibration.applied import labelled, promised, promised_of
from fusion.calibration.linear import LinearFusion
from fusion.calibration.notices import Notice, development, notices
from fusion.calibration.reference import FUSED, Reference
from fusion.calibration.worth import Contest, Finding, Measured, guard, offer, paired
from fusion.metrics.table import METRICS
from fusion.terminal import fuse_text as text
from fusion.terminal.inputs import speakers
from ivector.base.errors import DataError
from ivector.base.foreign.names import shown

if TYPE_CHECKING:
    from fusion.formats.speakers import TrialSpeakers
    from fusion.formats.tables import Trials
    from fusion.metrics.points import OperatingPoint

_MOST = 3  # trials to name
_HARMS = {
    "ranking": "the order of trials suffers", "calibration": "the llr are off",
    "nothing": "one of them adds nothing",
}  # fmt: skip
_BETTER = 0.95  # part of Cllr that bounded training is to leave


@dataclass(frozen=True)
class Options:
    """How to guard: what to do, points of costs, replicates, seed, and maps of speakers."""

    action: str
    points: list[OperatingPoint]
    n_bootstrap: int
    seed: int
    utt2spk: str | os.PathLike | None
    enroll: str | os.PathLike | None
    speaker_ids: str


@dataclass(frozen=True)
class Learnt:
    """What is known of a fusion's development when it is applied.

    Parameters
    ----------
    reference : Reference
    take : callable, optional
        Trains a fusion of some of its systems, by their numbers; with what is known of it.
    trained : bool
        Whether it was trained by this command, which could train another.
    """

    reference: Reference
    take: Callable[[Sequence[int]], tuple[LinearFusion, Learnt]] | None = None
    trained: bool = True


def of_development(
    contest: Contest, trials: Trials, options: Options, record: dict[str, Any]
) -> tuple[LinearFusion, np.ndarray, Learnt]:
    """Guard a fusion where it was learnt: the one to use, its llr (N,), and what to keep of it.

    Raises
    ------
    DataError
        It harms, and is to be refused then.
    """
    reference = reference_of(contest, trials, options.seed)
    wrong = development(reference, contest.table, contest.target)
    tell(wrong, trials)
    differences = None
    if options.n_bootstrap:
        differences = paired(contest, options.n_bootstrap, options.seed)
    findings = guard(contest, differences)
    record["guard"] = [text.finding_record(finding) for finding in findings]
    record["development"] = [notice_record(notice, trials) for notice in wrong]
    print("\n".join(text.sentence(finding) for finding in findings) or text.ALL_WELL)
    certain = [finding for finding in findings if finding.certain]
    robust = _robust(contest, certain, wrong)
    if robust:
        print(text.bounded(robust.fused(), contest.fused()))
    takes = bool(certain) and not robust and options.action != "best"
    subset = _subset(contest, findings, record, takes)
    gaps = [notice for notice in wrong if notice.kind == "gaps"]
    if options.action == "refuse":
        _refuse(certain, gaps, robust, subset)
    everything = range(len(contest.names))
    if options.action != "best":
        return contest.estimator, contest.fused().llr, Learnt(reference)
    if robust:
        contest, subset = robust, robust.fused()
        print("taken: all systems, trained with --bounded")
    elif certain and subset:
        print(f"taken: {subset.name}")
    elif gaps:
        subset = contest.measure(_others(gaps, contest.names))
        print(f"taken: {subset.name}")
    else:
        return contest.estimator, contest.fused().llr, _learnt(contest, everything, reference)
    fusion = contest.fit(subset.systems)
    text.print_weights(fusion, contest.table[:, subset.systems])
    return fusion, subset.llr, _learnt(contest, subset.systems, reference)


def _learnt(contest: Contest, systems: Sequence[int], reference: Reference) -> Learnt:
    """What is known of the fusion of some systems; it can be trained without some of them."""
    kept = reference.only(systems)
    kept.worth[FUSED] = promised_of(contest, contest.measure(systems).llr)

    def take(some: Sequence[int]) -> tuple[LinearFusion, Learnt]:
        chosen = [systems[k] for k in some]
        return contest.fit(chosen), _learnt(contest, chosen, reference)

    return Learnt(kept, take)


def reference_of(contest: Contest, trials: Trials, seed: int) -> Reference:
    """What to keep of the development scores of a fusion."""
    sides = contest.speakers.enrol, contest.speakers.test
    reference = Reference.learn(
        contest.table, contest.target, sides, contest.names, _recordings(trials), seed
    )
    reference.worth = promised(contest)
    return reference


def _recordings(trials: Trials) -> int:
    """Ids of either side of some trials."""
    return len(trials.enrol_ids) + len(trials.test_ids)


def _robust(
    contest: Contest, certain: Sequence[Finding], wrong: Sequence[Notice]
) -> Contest | None:
    """The same with bounded training, if outliers rule: then it is better and harms nowhere."""
    outliers = any(notice.kind == "outliers" for notice in wrong)
    if contest.estimator.bounded or not (certain or outliers):
        return None
    estimator = clone(contest.estimator).set_params(bounded=True)
    robust = Contest(
        estimator, contest.table, contest.target, contest.speakers, contest.points,
        n_folds=contest.n_folds, random_state=contest.random_state,
    )  # fmt: skip
    fused = robust.fused()
    if fused.cllr > _BETTER * contest.fused().cllr:
        return None
    worse = [METRICS[f.metric[0]].is_worse(fused.value(f.metric), f.best) for f in certain]
    return None if any(worse) else robust


def _subset(
    contest: Contest, findings: Sequence[Finding], record: dict[str, Any], takes: bool
) -> Measured | None:
    """The systems to take instead, printed."""
    if not findings:
        return None
    subset, remaining = offer(contest, findings)
    systems = [contest.names[k] for k in subset.systems]
    record["offer"] = {"systems": systems, **text.numbers(subset)}
    print(text.offered(subset, findings, remaining, takes))
    return subset


def _refuse(
    certain: Sequence[Finding],
    gaps: Sequence[Notice],
    robust: Contest | None,
    subset: Measured | None,
) -> None:
    if certain and subset and not robust:
        raise DataError(
            f"the fusion is worse than its best part at {text.labels(certain)}; use "
            f"{subset.name} alone, or give --guard warn or best"
        )
    if robust:
        raise DataError("outliers rule the fusion; give --bounded, or --guard warn or best")
    if gaps:
        raise DataError(f"{gaps[0].text}; score them, or give --guard warn or best")


def of_applied(
    learnt: Learnt,
    fusion: LinearFusion,
    table: np.ndarray,
    trials: Trials,
    options: Options,
    record: dict[str, Any],
) -> tuple[LinearFusion, np.ndarray, Learnt]:
    """Guard a fusion where it is applied: the one to use, its llr (N,), what is known of it.

    Parameters
    ----------
    learnt : Learnt
    fusion : LinearFusion
    table : ndarray (N, K)
        Scores of its systems.
    trials : Trials
    options : Options
    record : dict
        Takes what was found.

    Raises
    ------
    DataError
        The scores are not those of development, or the fusion harms there, and is to be refused
        then, or no system is left to take instead.
    """
    llr, reference = fusion.transform(table), learnt.reference
    target = classes(trials)
    share = None if target is None else float(target.mean())
    wrong = notices(reference, table, _recordings(trials), share)
    if target is not None:
        sides = _speakers(trials, options)
        told = (target, sides.enrol, sides.test)
        wrong += labelled(
            reference, llr, table, told, options.points, n_bootstrap=options.n_bootstrap,
            random_state=options.seed,
        )  # fmt: skip
    tell(wrong, trials)
    record["guard"] = [notice_record(notice, trials) for notice in wrong]
    if not wrong:
        print(text.APPLIED_WELL if target is None else text.APPLIED_WELL_LABELLED)
        return fusion, llr, learnt
    if options.action == "refuse":
        others = "warn or best" if learnt.trained else "warn"
        raise DataError(f"{wrong[0].text}; mend the scores, or give --guard {others}")
    if options.action != "best":
        return fusion, llr, learnt
    kept = _others(wrong, reference.names)
    if learnt.take is None:
        raise DataError(
            f"{wrong[0].text}; a saved fusion cannot be trained without a system: give the "
            "development scores with --guard best, or --guard warn"
        )
    print(f"taken: {' + '.join(reference.names[k] for k in kept)}")
    fusion, known = learnt.take(kept)
    return fusion, fusion.transform(table[:, kept]), known


def classes(trials: Trials) -> np.ndarray | None:
    """Whether each trial (N,) is a target, where all have labels and both classes occur."""
    from fusion.formats.layouts import TARGET, UNKNOWN

    target = trials.labels == TARGET
    known = not (trials.labels == UNKNOWN).any() and target.any() and not target.all()
    return target if known else None


def _speakers(trials: Trials, options: Options) -> TrialSpeakers:
    """Speakers of applied trials: of the map, where it has them, or as the targets tell."""
    if options.utt2spk:
        with contextlib.suppress(DataError):  # a map of the development speakers alone
            return speakers(trials, options)
    return speakers(trials, replace(options, utt2spk=None, enroll=None))


def _others(wrong: Sequence[Notice], names: Sequence[str]) -> list[int]:
    """Systems that are not to blame, where some are and others are not.

    Raises
    ------
    DataError
        None is left.
    """
    # What one system is blamed for tells more than what it might be blamed for with others.
    some = [{*notice.systems} for notice in wrong if len(notice.systems) < len(names)]
    single = [systems for systems in some if len(systems) == 1]
    # A fusion that is worse than one part may be so for any of the others.
    told = [{*n.systems} for n in wrong if n.kind != "beaten" and len(n.systems) < len(names)]
    for blamed in (set().union(*told), set().union(*single), set().union(*some)):
        kept = [k for k in range(len(names)) if k not in blamed]
        if blamed and kept:
            return kept
    raise DataError(
        f"{wrong[0].text}; which systems are to blame cannot be told: mend the scores, or give "
        "--guard warn"
    )


def tell(wrong: Sequence[Notice], trials: Trials) -> None:
    """Print what is wrong, with the trials that are to blame."""
    for notice in wrong:
        named = ", ".join(_named(trials, row) for row in notice.trials[:_MOST])
        more = f" and {len(notice.trials) - _MOST} more" if len(notice.trials) > _MOST else ""
        where = f"; trials {named}{more}" if named else ""
        print(shown(f"guard: {notice.text}{where}: {_HARMS[notice.harms]}", most=0))


def notice_record(notice: Notice, trials: Trials) -> dict[str, Any]:
    """For JSON."""
    return {
        "kind": notice.kind, "systems": list(notice.systems), "text": notice.text,
        "harms": notice.harms, "trials": [_named(trials, row) for row in notice.trials],
    }  # fmt: skip


def _named(trials: Trials, row: int) -> str:
    return f"{trials.enrol_ids[trials.enrol[row]]} {trials.test_ids[trials.test[row]]}"
