"""Which speaker each side of a trial is of: what the bootstrap draws, instead of trials."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

import numpy as np

from fusion.formats.corpus_ids import RULES
from fusion.formats.layouts import NONTARGET, TARGET, UNKNOWN
from fusion.formats.tables import Trials
from ivector.base.errors import DataError, UsageError
from ivector.base.files import read_lines

_MOST_CHANCE = 0.05  # that a speaker's recordings are parted and no trial shows it
_MOST_PARTED = 0.02  # of the speakers told may have such a chance
_BLOCK = 1 << 20  # trials looked at together


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
    at_most : bool
        Whether some of them may be the same: no trial says that they differ.
    trusted : bool
        Whether they are enough of speakers for intervals; False if those would be too narrow.
    """

    enrol: np.ndarray
    test: np.ndarray
    n_speakers: int
    source: str
    at_most: bool = False
    trusted: bool = True

    @property
    def known(self) -> str:
        """What to say of speakers that are taken for apart."""
        return ", as far as speakers are known" if self.at_most else ""

    @property
    def count(self) -> str:
        """``12 speakers``, or ``at most 12 speakers``."""
        return f"{'at most ' if self.at_most else ''}{self.n_speakers} speakers"

    @property
    def doubt(self) -> str:
        """What to say of intervals that cannot be trusted; empty of others."""
        return "" if self.trusted else " that cannot be trusted"


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
    _refuse_unknown(trials, enrol_names, test_names)
    return _numbered(trials, enrol_names, test_names, "utt2spk")  # type: ignore[arg-type]


def _refuse_unknown(
    trials: Trials, enrol_names: list[str | None], test_names: list[str | None]
) -> None:
    """Refuse ids without a speaker; where most are on both sides, recordings counted once."""
    sides = [trials.enrol_ids, trials.test_ids], [enrol_names, test_names]
    models, recordings = (
        [name for name, speaker in zip(ids, found) if speaker is None] for ids, found in zip(*sides)
    )
    both = set(trials.enrol_ids) & set(trials.test_ids)
    everything = [trials.enrol_ids, trials.test_ids]
    if 2 * len(both) > len(trials.enrol_ids):
        models, recordings = [], [*dict.fromkeys([*models, *recordings])]
        everything[1] = [*dict.fromkeys([*trials.enrol_ids, *trials.test_ids])]
    cures = "name its utterances with `models`", "add it to `utt2spk`"
    for missing, ids, cure in zip((models, recordings), everything, cures):
        if missing:
            raise DataError(
                f"{len(missing)} of {len(ids)} ids of {trials.origin.name} have no speaker in "
                f"utt2spk, first {missing[0]!r}; {cure}"
            )


def _numbered(
    trials: Trials, enrol_names: list[str], test_names: list[str], source: str
) -> TrialSpeakers:
    """Speakers of trials by their names for each id; refuses labels that contradict them."""
    numbers = {name: n for n, name in enumerate(sorted({*enrol_names, *test_names}))}
    enrol, test = (
        np.array([numbers[name] for name in found], _dtype(len(numbers)))[side]
        for found, side in ((enrol_names, trials.enrol), (test_names, trials.test))
    )
    _refuse_contradictions(trials, enrol == test, source)
    return TrialSpeakers(enrol, test, len(numbers), f"from {source}")


def named_speakers(trials: Trials, rule: str) -> TrialSpeakers:
    r"""Speakers of trials by the ids of a known corpus.

    Parameters
    ----------
    trials : Trials
    rule : str
        One of `RULES`.

    Raises
    ------
    DataError
        An id is none of that corpus, or a label contradicts the speakers.
    UsageError
        No such rule.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion.formats import read_trials
    >>> from fusion.formats.speakers import named_speakers
    >>> _ = Path("trials").write_text("84-1-0000 84-1-0001 target\n84-1-0000 61-7-0000 nontarget\n")
    >>> named_speakers(read_trials("trials"), "librispeech").count
    '2 speakers'
    """
    if rule not in RULES:
        raise UsageError(f"no rule {rule!r} for ids; there are {', '.join(RULES)}")
    names: list[list[str]] = []
    of_recordings, of_models = map(re.compile, RULES[rule])
    for ids, pattern in ((trials.enrol_ids, of_models), (trials.test_ids, of_recordings)):
        found = [pattern.fullmatch(name) for name in ids]
        if None in found:
            raise DataError(
                f"{trials.origin.name}: {ids[found.index(None)]!r} is no id as {rule} has them; "
                "give `utt2spk`"
            )
        names.append([match[1] for match in found if match])
    enrol, test = names
    return _numbered(trials, enrol, test, f"the ids, as {rule} has them")


def told_speakers(trials: Trials) -> TrialSpeakers:
    """Speakers of trials without a map: by ids of a known corpus, else `linked_speakers`.

    The ids are believed if all are of the corpus and no label contradicts them.
    """
    linked = linked_speakers(trials)
    for rule in RULES:
        try:
            named = named_speakers(trials, rule)
        except DataError:
            continue
        if named.n_speakers == linked.n_speakers:  # the same ones; they keep their numbers
            return replace(linked, source=named.source, at_most=False, trusted=True)
        return named
    return linked


def _refuse_contradictions(trials: Trials, same: np.ndarray, source: str) -> None:
    wrong = np.flatnonzero((trials.labels != UNKNOWN) & ((trials.labels == TARGET) != same))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{len(wrong)} labels of {trials.origin.name} contradict {source}, first "
            f"'{trials.enrol_ids[trials.enrol[row]]} {trials.test_ids[trials.test[row]]}' "
            f"({trials.origin.where(row)}); mend the list or the map"
        )


def _dtype(n_speakers: int) -> type[np.integer]:
    return np.uint16 if n_speakers <= 1 << 16 else np.int32


def linked_speakers(trials: Trials) -> TrialSpeakers:
    r"""Speakers of trials as far as the target trials tell them.

    A target trial joins its model and its test utterance; an id found on both sides is one
    recording; what is joined, directly or through others, is one speaker. A model or an utterance
    without a target trial stays a speaker of its own. Two that meet in a nontarget trial differ;
    others may be one, so that there are at most as many. Where a list has so few pairs that those
    of one speaker need not join, intervals made of them would be too narrow.

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
    sides = speaker[:n_enrol][trials.enrol], speaker[n_enrol:][trials.test]
    alone = n_test - len(np.unique(np.concatenate([trials.test[is_target], same[:, 1]])))
    source = "from the target trials, without utt2spk"
    if alone:
        source += f"; {alone} test utterances without one count as speakers of their own"
    at_most = not _all_meet(*sides, trials.labels == NONTARGET, n_speakers)
    trusted = not at_most or _parted(speaker, n_enrol, same, sides[0][is_target]) <= _MOST_PARTED
    if not trusted:
        source += (
            "; the list has too few pairs to join all recordings of a speaker, so that intervals, "
            "if any, are too narrow: give utt2spk"
        )
    return TrialSpeakers(*sides, int(n_speakers), source, at_most, trusted)


def _all_meet(one: np.ndarray, two: np.ndarray, differ: np.ndarray, n_speakers: int) -> bool:
    """Whether every two of the speakers meet in a trial that tells them to differ.

    Parameters
    ----------
    one, two, differ : ndarray (n_trials,)
        Speakers of either side, and whether the trial tells that.
    n_speakers : int
    """
    n_pairs = n_speakers * (n_speakers - 1) // 2
    if n_pairs > np.count_nonzero(differ):
        return False
    meets = np.zeros(n_speakers**2, bool)  # at most twice as many bytes as there are trials
    for start in range(0, len(one), _BLOCK):  # or the numbers of pairs would take 16 times that
        rows = slice(start, start + _BLOCK)
        low, high = np.minimum(one[rows], two[rows]), np.maximum(one[rows], two[rows])
        meets[(low.astype(np.int64) * n_speakers + high)[differ[rows]]] = True
    meets[:: n_speakers + 1] = False
    return int(np.count_nonzero(meets)) == n_pairs


def _parted(speaker: np.ndarray, n_enrol: int, same: np.ndarray, targets: np.ndarray) -> float:
    """Share of the speakers told that could well be a part of another one.

    How many pairs of one speaker are trials, beyond those that join the recordings, tells with
    which chance two parts of a speaker of usual size would not have met.

    Parameters
    ----------
    speaker : ndarray (n_enrol + n_test,)
        Of the ids of both sides.
    n_enrol : int
    same : ndarray (n, 2)
        Positions of the ids that are on both sides.
    targets : ndarray (n_targets,)
        Speaker of each target trial.
    """
    n_speakers = int(speaker.max()) + 1
    models, tests = (
        np.bincount(side, minlength=n_speakers) for side in (speaker[:n_enrol], speaker[n_enrol:])
    )
    recordings = models + tests - np.bincount(speaker[same[:, 0]], minlength=n_speakers)
    pairs = recordings * (recordings - 1) / 2 if len(same) else models * tests
    joining = recordings - 1
    room = (pairs - joining).sum()
    more = np.minimum(np.bincount(targets, minlength=n_speakers), pairs) - joining
    rate = max(float(more.sum() / room), 0.0) if room > 0 else 0.0
    chance = (1 - rate) ** (recordings * recordings.mean())
    return float(np.mean(chance > _MOST_CHANCE))
