"""What a fold trains on, enrols and tests, read from its folder and checked."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ivector.base.errors import DataError
from ivector.data import read_enroll, read_table, read_trials
from recipes.engine.marks import digest, file_state
from recipes.validate import check_fold

logger = logging.getLogger("recipe")


def folds(data: Path, none_is_fine: bool = False) -> list[Path]:
    """Folders of the protocol's folds, in order.

    Raises
    ------
    DataError
        There are none, or one has a defect (`recipes.validate.check_fold`). Better now than after
        hours of training.
    """
    found = sorted(p for p in data.glob("fold*") if p.is_dir())
    if not found:
        if none_is_fine:
            return []
        raise DataError(f"{data}: no fold*/ here; run stage 0 first")
    lists = (data / "wav" / "utt2spk", *(path for fold in found for path in sorted(fold.glob("*"))))
    defects = _defects(
        data, tuple(found), tuple((path, *file_state(path)) for path in lists if path.exists())
    )
    if defects:
        cure = f"; python -m recipes.validate {data} names all {len(defects)} defects"
        raise DataError(defects[0] + cure * (len(defects) > 1))
    return found


@functools.lru_cache(maxsize=8)
def _defects(data: Path, found: tuple[Path, ...], _: tuple[tuple, ...]) -> list[str]:
    """Defects of folds whose lists are in this state."""
    utt2spk = read_utt2spk(data / "wav" / "utt2spk")
    return [defect for fold in found for defect in check_fold(fold, utt2spk)]


def read_utt2spk(path: Path) -> dict[str, str]:
    """Read a two-column utt2spk file."""
    table = read_table(path, str)
    for utt, speaker in table.items():
        if speaker.split() != [speaker]:
            raise DataError(
                f"{path}: {utt}: expected 'utterance speaker', got {speaker!r} behind it"
            )
    return table


def fold_utterances(fold: Path) -> list[str]:
    """Every utterance a fold needs: training, enrolment and test."""
    return sorted({*read_utt2spk(fold / "train.utt2spk"), *tried_utterances(fold)})


def tried_utterances(fold: Path) -> set[str]:
    """Every utterance that a fold enrols or tests."""
    wanted = {utt for utts in read_enroll(fold / "enroll").values() for utt in utts}
    for trial_list in trial_lists(fold):
        wanted.update(trial.test for trial in read_trials(trial_list))
    return wanted


@dataclass(frozen=True)
class Models:
    """Enrolment of models: ids, and the utterances of each."""

    ids: list[str]
    utterances: list[list[str]]


@dataclass(frozen=True)
class Protocol:
    """A fold's enrolments, tests and trials, and a cohort of its training speakers.

    The cohort's models are enrolled as the fold's are, from as many utterances; the cohort's
    other utterances are its tests. So a normalised score compares like with like.
    """

    enrolment: Models
    tests: list[str]
    pairs: np.ndarray  # (n_trials, 2): rows in enrolment.ids and tests
    targets: list[bool | None]
    cohort: Models
    cohort_tests: list[str]
    cohort_owners: np.ndarray  # (n_cohort_tests,): their speakers

    @property
    def same_speaker(self) -> np.ndarray:
        """Which cohort tests are of a cohort model's speaker, (n_cohort, n_cohort_tests)."""
        return np.array(self.cohort.ids)[:, None] == self.cohort_owners[None, :]


def trial_lists(fold: Path) -> list[Path]:
    """The fold's trial lists: ``trials``, and ``trials-NAME`` where there are more."""
    return [fold / "trials", *sorted(fold.glob("trials-*"))]


def protocol_digest(fold: Path) -> str:
    """Digest of all that decides which trials a fold scores, and how."""
    return digest(fold / "enroll", fold / "train.utt2spk", *trial_lists(fold))


def read_protocol(fold: Path, usable: set[str], trial_list: Path | None = None) -> Protocol:
    """Read a fold, leaving out trials with unusable recordings, which is said."""
    trial_list = trial_list or fold / "trials"
    enroll = read_enroll(fold / "enroll")
    enrolment = {key: [utt for utt in utts if utt in usable] for key, utts in enroll.items()}
    trials = list(read_trials(trial_list))
    unknown = {trial.enrol for trial in trials} - set(enroll)
    if unknown:
        raise DataError(f"{trial_list}: {len(unknown)} enrolments are not in enroll, "
                        f"for example {min(unknown)}")  # fmt: skip
    kept = [t for t in trials if t.test in usable and enrolment[t.enrol]]
    if len(kept) < len(trials):
        logger.warning(
            "%s: %d of %d trials have no score, as a recording of theirs was skipped",
            fold.name, len(trials) - len(kept), len(trials),
        )  # fmt: skip
    if not kept:
        raise DataError(f"{trial_list}: no trial can be scored")
    ids = sorted({t.enrol for t in kept})
    tests = sorted({t.test for t in kept})
    row = {key: i for i, key in enumerate(ids)}
    column = {key: j for j, key in enumerate(tests)}
    n_enrol = int(np.median([len(utts) for utts in enroll.values()]))
    models, cohort_tests, owners = _cohort(fold, usable, n_enrol)
    return Protocol(
        Models(ids, [enrolment[key] for key in ids]),
        tests,
        np.array([(row[t.enrol], column[t.test]) for t in kept]),
        [t.is_target for t in kept],
        models,
        cohort_tests,
        owners,
    )


def _cohort(fold: Path, usable: set[str], n_enrol: int) -> tuple[Models, list[str], np.ndarray]:
    speakers: dict[str, list[str]] = {}
    for utt, speaker in sorted(read_utt2spk(fold / "train.utt2spk").items()):
        if utt in usable:
            speakers.setdefault(speaker, []).append(utt)
    ids = sorted(speakers)
    tests = [(utt, spk) for spk in ids for utt in speakers[spk][n_enrol:]]
    models = Models(ids, [speakers[spk][:n_enrol] for spk in ids])
    return models, [utt for utt, _ in tests], np.array([owner for _, owner in tests], dtype=str)
