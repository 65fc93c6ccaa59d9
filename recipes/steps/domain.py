"""Stage 1, too: are the recordings on trial like those that the systems were trained on?

For every fold the training recordings tell what their domain sounds like (`ivector.measures`,
`ivector.base.domain`), and each trial list's recordings are held against it, all of them together
and one by one. What is found is warned of, and drives whether ``--adapt`` adapts
(`recipes.steps.adaptation`) and how far llr are trusted (`recipes.steps.fusion`). It stands in
``domain/FOLD/domain.json``; ``domain/FOLD/recordings.tsv`` has every recording.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.domain import Domain, sample
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.base.foreign.boundary import read_json
from ivector.data import read_enroll, read_trials
from ivector.formats.arks import load_array
from ivector.measures import groups, resolution
from recipes.engine.marks import is_planned
from recipes.engine.run import Job, Run
from recipes.engine.stage import require
from recipes.experiment.frames import logger, scp_here
from recipes.experiment.protocol import folds, protocol_digest, read_utt2spk, trial_lists

RATE = 0.05  # of false alarms: sets, and single recordings, of speakers like those of training
NAME = "domain.json"


def read_domain(folder: Path) -> dict[str, Any]:
    """What a fold's ``domain.json`` says of each trial list: "" for ``trials``, "-NAME"."""
    return read_json(folder / NAME, "what is known of the domain")


def is_outside(found: Mapping[str, Any]) -> bool:
    """Whether a trial list's recordings are of another domain."""
    return found.get("distance", 0) > 1


def are_inside(folder: Path) -> bool:
    """Whether all of a fold's trials are known to be of recordings like those of training."""
    lists = [found for found in read_domain(folder).values() if isinstance(found, dict)]
    return bool(lists) and not any(map(is_outside, lists))


class _Measures:
    """Measures of recordings, read one by one."""

    def __init__(self, features: Path):
        self.places = scp_here(features, "measures")

    def usable(self, utterances: Sequence[str]) -> list[str]:
        return [utt for utt in utterances if utt in self.places]

    def read(self, utterances: Sequence[str]) -> np.ndarray:
        """(n_utterances, n_measures)."""
        return np.stack([load_array(utt, self.places[utt]) for utt in utterances])


def learn(run: Run, fold: Path, measures: _Measures) -> Domain:
    """The domain of a fold's training recordings."""
    utt2spk = read_utt2spk(fold / "train.utt2spk")
    utterances = measures.usable(sorted(utt2spk))
    owners = np.array([utt2spk[utt] for utt in utterances])
    seed = run.settings.common.seed
    rows = sample(owners, seed)
    X = measures.read([utterances[row] for row in rows])
    n_measures = X.shape[1]
    return Domain(X, owners[rows], groups(n_measures), resolution(n_measures), RATE, seed)


def judge(run: Run, fold: Path, work: Path, nj: int) -> None:
    """Hold a fold's trials against its training recordings, and write what is found."""
    lines: list[str] = []
    found: dict[str, Any] = {}
    try:
        measures = _Measures(run.features)
        domain = learn(run, fold, measures)
    except DataError as error:
        logger.warning(
            "%s: whether trials are like the training data is not known: %s", fold.name, error
        )
        write_text(work / NAME, json.dumps({"unknown": str(error)}, indent=1) + "\n")
        return
    for path in trial_lists(fold):
        part = path.name.removeprefix("trials")
        utterances = measures.usable(_tried(fold, path))
        if len(utterances) < 2:
            continue
        X = measures.read(utterances)
        whole, single = domain.distance(X), domain.recordings(X)
        found[part] = {
            "distance": whole.value,
            "groups": whole.groups,
            "recordings": len(utterances),
            "outside": int((single.values > 1).sum()),
            "rate": RATE,
        }
        rows = zip(utterances, single.values, single.groups)
        lines += [f"{utt}\t{value:.3f}\t{group}\n" for utt, value, group in rows]
        if whole.outside:
            told = _told(found[part], whole.reasons)
            logger.warning("trials of %s%s: %s", fold.name, part, told)
    write_text(work / NAME, json.dumps(found, indent=1) + "\n")
    write_text(
        work / "recordings.tsv", "recording\tdistance\tmeasure\n" + "".join(dict.fromkeys(lines))
    )


def _tried(fold: Path, trial_list: Path) -> list[str]:
    """Utterances that a trial list enrols and tests."""
    enroll, wanted = read_enroll(fold / "enroll"), set()
    for trial in read_trials(trial_list):
        wanted |= {trial.test, *enroll.get(trial.enrol, ())}
    return sorted(wanted)


def _told(found: Mapping[str, Any], reasons: Sequence[str]) -> str:
    what = ", ".join(reasons)
    return (
        f"the recordings on trial are not like those of training: {what} (distance "
        f"{found['distance']:.2f}; unseen speakers of the training data stay below 1 in "
        f"{100 * (1 - RATE):.0f} % of sets); {found['outside']} of {found['recordings']} stand out "
        "by themselves"
    )


def jobs(run: Run) -> Iterator[Job]:
    """What every fold's trials are like."""
    if is_planned(run.data):
        yield Job(run.exp / "domain", {}, {"folds": "planned: stage 0"}, lambda *_: None)
        return
    for fold in folds(run.data):
        upstream = {"features": require(run.features, 1), "protocol": protocol_digest(fold)}
        body = functools.partial(judge, run, fold)
        options = {"rate": RATE, "seed": run.settings.common.seed}
        target = run.exp / "domain" / fold.name
        yield Job(target, options, upstream, body, run.code("domain"), run.forced)
