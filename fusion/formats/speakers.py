"""Which speaker each side of a trial is of: what the bootstrap draws, instead of trials."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from fusion.formats.layouts import TARGET, UNKNOWN
from fusion.formats.tables import Trials
from ivector.base.errors import DataError
from ivector.base.files import read_lines


@dataclass(frozen=True)
class TrialSpeakers:
    """Speaker of either side of each trial, in one numbering.

    Parameters
    ----------
    enrol, test : ndarray (n_trials,) integers
        Of two bytes, or four where there are too many speakers.
    n_speakers : int
    source : str
        How they were told, in words.
    """

    enrol: np.ndarray
    test: np.ndarray
    n_speakers: int
    source: str


def read_map(path: str | os.PathLike) -> dict[str, str]:
    """Read ``utterance speaker`` lines (Kaldi's utt2spk).

    Raises
    ------
    DataError
        The file cannot be read, a line has not two columns, or an utterance has two speakers.
    """
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise DataError(
                f"{path}, line {number}: expected 'utterance speaker', found {len(fields)} columns"
            )
        if pairs.setdefault(fields[0], fields[1]) != fields[1]:
            raise DataError(f"{path}, line {number}: {fields[0]!r} has another speaker above")
    if not pairs:
        raise DataError(f"{path}: is empty; expected lines 'utterance speaker'")
    return pairs


def read_enrolments(path: str | os.PathLike, utt2spk: dict[str, str]) -> dict[str, str]:
    """Speaker of each model from ``model utterance...`` lines.

    Raises
    ------
    DataError
        The file cannot be read, a line has no utterance or one of an unknown speaker, or a model
        has utterances of several speakers.
    """
    speakers: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) == 1:
            raise DataError(f"{path}, line {number}: expected 'model utterance...'")
        unknown = [utt for utt in fields[1:] if utt not in utt2spk]
        if unknown:
            raise DataError(f"{path}, line {number}: utt2spk lacks the utterance {unknown[0]!r}")
        found = sorted({utt2spk[utt] for utt in fields[1:]})
        if len(found) > 1 or speakers.setdefault(fields[0], found[0]) != found[0]:
            raise DataError(
                f"{path}, line {number}: the model {fields[0]!r} has utterances of several speakers"
            )
    if not speakers:
        raise DataError(f"{path}: is empty; expected lines 'model utterance...'")
    return speakers


def mapped_speakers(
    trials: Trials, utt2spk: dict[str, str], models: dict[str, str] | None = None
) -> TrialSpeakers:
    r"""Speakers of trials by a map from utterances, and one from enrolment models if there is one.

    A model that neither map has is taken for a speaker's name, if it is one.

    Raises
    ------
    DataError
        An id has no speaker, or a label contradicts the speakers.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import mapped_speakers, read_trials
    >>> _ = Path("trials").write_text("utt1 utt2 target\nutt1 utt3 nontarget\n")
    >>> utt2spk = {"utt1": "anna", "utt2": "anna", "utt3": "ben"}
    >>> speakers = mapped_speakers(read_trials("trials"), utt2spk)
    >>> speakers.n_speakers, speakers.enrol.tolist(), speakers.test.tolist()
    (2, [0, 0], [0, 1])
    """
    names = set(utt2spk.values())
    sides = dict(utt2spk) if models is None else {**utt2spk, **models}
    enrol_names = [sides.get(name, name if name in names else None) for name in trials.enrol_ids]
    test_names = [utt2spk.get(name) for name in trials.test_ids]
    for ids, found, cure in (
        (trials.enrol_ids, enrol_names, "name its utterances with `models`"),
        (trials.test_ids, test_names, "add it to `utt2spk`"),
    ):
        missing = [name for name, speaker in zip(ids, found) if speaker is None]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(ids)} ids of {trials.origin.name} have no speaker in "
                f"utt2spk, first {missing[0]!r}; {cure}"
            )
    numbers = {name: n for n, name in enumerate(sorted({*enrol_names, *test_names} - {None}))}  # type: ignore[type-var]
    enrol, test = (
        np.array([numbers[name] for name in found], _dtype(len(numbers)))[side]  # type: ignore[index]
        for found, side in ((enrol_names, trials.enrol), (test_names, trials.test))
    )
    _refuse_contradictions(trials, enrol == test)
    return TrialSpeakers(enrol, test, len(numbers), "from utt2spk")


def _refuse_contradictions(trials: Trials, same: np.ndarray) -> None:
    wrong = np.flatnonzero((trials.labels != UNKNOWN) & ((trials.labels == TARGET) != same))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{len(wrong)} labels of {trials.origin.name} contradict utt2spk, first "
            f"'{trials.enrol_ids[trials.enrol[row]]} {trials.test_ids[trials.test[row]]}' "
            f"({trials.origin.where(row)}); mend the list or the map"
        )


def _dtype(n_speakers: int) -> type[np.integer]:
    return np.uint16 if n_speakers <= 1 << 16 else np.int32


def linked_speakers(trials: Trials) -> TrialSpeakers:
    r"""Speakers of trials as far as the target trials tell them.

    A target trial joins its model and its test utterance; an id found on both sides is one
    recording; what is joined, directly or through others, is one speaker. A model or an utterance
    without a target trial stays a speaker of its own.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import linked_speakers, read_trials
    >>> _ = Path("trials").write_text("m1 utt1 target\nm2 utt1 nontarget\nm2 utt2 target\n")
    >>> speakers = linked_speakers(read_trials("trials"))
    >>> speakers.n_speakers, speakers.enrol.tolist(), speakers.test.tolist()
    (2, [0, 1, 1], [0, 0, 1])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_enrol, n_test = len(trials.enrol_ids), len(trials.test_ids)
    is_target = trials.labels == TARGET
    positions = {name: n for n, name in enumerate(trials.test_ids)}
    both = [(n, positions[name]) for n, name in enumerate(trials.enrol_ids) if name in positions]
    same = np.array(both, np.int64).reshape(-1, 2)
    rows = np.concatenate([trials.enrol[is_target], same[:, 0]])
    columns = np.concatenate([trials.test[is_target], same[:, 1]]) + n_enrol
    size = n_enrol + n_test
    # SciPy 1.11 takes no indices of eight bytes there.
    where = (rows.astype(np.int32), columns.astype(np.int32))
    links = coo_array((np.ones(len(rows), np.int8), where), shape=(size, size))
    n_speakers, speaker = connected_components(links, directed=False)
    speaker = speaker.astype(_dtype(n_speakers))
    alone = n_test - len(np.unique(np.concatenate([trials.test[is_target], same[:, 1]])))
    source = "from the target trials, without utt2spk"
    if alone:
        source += f"; {alone} test utterances without one count as speakers of their own"
    enrol, test = speaker[:n_enrol][trials.enrol], speaker[n_enrol:][trials.test]
    return TrialSpeakers(enrol, test, int(n_speakers), source)
