"""Checks a corpus and writes the layout that ``recipes.corpora`` describes."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ivector.base.errors import DataError
from ivector.base.files import atomic_write
from ivector.base.log import progress
from ivector.data import DataDir, Trial, write_data_dir, write_enroll, write_trials
from ivector.features.audio import audio_info
from recipes.corpora.common import Corpus, Fold, Recording

logger = logging.getLogger("prepare")

SHOWN = 10
LEAST_KEPT = 0.05  # of a trial list; with fewer it is another corpus's
READERS = 8  # threads that open files; waiting for the disk, not computing


def finish(corpus: Corpus, out_dir: Path, strict: bool = False) -> dict[str, int]:
    """Check `corpus` and write it to `out_dir`; whatever the folder held of a corpus goes.

    Parameters
    ----------
    corpus : Corpus
    out_dir : Path
    strict : bool
        Stop at recordings that cannot be used, instead of leaving them out.

    Returns
    -------
    counts : dict of str to int
        Speakers, utterances, folds, trials.

    Raises
    ------
    DataError
        Nothing usable is left, ids are ambiguous, or a fold contradicts itself.
    """
    recordings = corpus.recordings if corpus.checked else usable(corpus.recordings, strict)
    utt2spk = {r.utterance: r.speaker for r in recordings}
    folds = [
        _check_fold(_restrict(fold, utt2spk, f"fold{i}", strict), utt2spk, f"fold{i}")
        for i, fold in enumerate(corpus.folds)
    ]
    _clear(out_dir)
    _write_wav(recordings, corpus.genders, out_dir / "wav")
    for i, fold in enumerate(folds):
        _write_fold(fold, out_dir / f"fold{i}")
    return {
        "speakers": len(set(utt2spk.values())),
        "utterances": len(recordings),
        "folds": len(folds),
        "trials": sum(len(fold.trials) for fold in folds),
    }


def usable(recordings: Iterable[Recording], strict: bool = False) -> list[Recording]:
    """Sort recordings and leave out those whose header cannot be read or that hold nothing.

    Raises
    ------
    DataError
        Two recordings have one id; none can be used; or `strict` and one cannot be used.
    """
    ordered = sorted(recordings)
    for one, two in itertools.pairwise(ordered):
        if one.utterance == two.utterance:
            raise DataError(
                f"{one.path} and {two.path} both have the id {one.utterance}; rename one of them"
            )
    with ThreadPoolExecutor(READERS) as pool:
        found = progress(pool.map(_inspect, ordered), len(ordered), "checking recordings", "files")
        results = list(found)
    bad = [(r, problem) for r, (problem, _) in zip(ordered, results) if problem]
    for recording, problem in bad[:SHOWN]:
        logger.warning("%s: %s", recording.path, problem)
    good = [r for r, (problem, _) in zip(ordered, results) if not problem]
    if bad and (strict or not good):
        raise DataError(
            f"{bad[0][0].path}: {bad[0][1]} ({len(bad)} of {len(ordered)} recordings cannot be "
            "used); mend or remove them"
        )
    if bad:
        logger.warning("%d of %d recordings left out", len(bad), len(ordered))
    rates = Counter(rate for problem, rate in results if not problem)
    if len(rates) > 1:
        text = ", ".join(f"{rate} Hz: {count}" for rate, count in sorted(rates.items()))
        logger.warning("recordings differ in sampling rate (%s)", text)
    return good


def _inspect(recording: Recording) -> tuple[str, int]:
    """Say what is wrong with a recording ('' if nothing), and its rate."""
    name = str(recording.path)
    if name != name.strip() or "\n" in name or name.endswith("|"):
        return "a line of wav.scp cannot hold this name; rename the file", 0
    try:
        name.encode("utf-8")
        if not recording.path.exists():
            return "no such file, or a link that leads nowhere", 0
        info = audio_info(name)
    except UnicodeEncodeError:
        return "the name is not UTF-8; rename the file", 0
    except DataError as error:
        return str(error).removeprefix(f"{name}: "), 0
    return ("" if info.n_samples > 0 else "holds no samples"), info.rate


def _restrict(fold: Fold, utt2spk: Mapping[str, str], name: str, strict: bool) -> Fold:
    """Leave out of a fold what has no recording."""
    enroll = {e: [u for u in utts if u in utt2spk] for e, utts in fold.enroll.items()}
    enroll = {e: utts for e, utts in enroll.items() if utts}

    def kept(trials: list[Trial]) -> list[Trial]:
        return [t for t in trials if t.enrol in enroll and t.test in utt2spk]

    restricted = dataclasses.replace(
        fold,
        train={u: s for u, s in fold.train.items() if u in utt2spk},
        enroll=enroll,
        trials=kept(fold.trials),
        more={key: kept(trials) for key, trials in fold.more.items()},
    )
    _refuse_lost(fold, restricted, name)
    before, after = _size(fold), _size(restricted)
    if before != after:
        lost = ", ".join(f"{b - a} of {b} {what}" for what, b, a in zip(_PARTS, before, after))
        text = f"{name}: the protocol names utterances without a recording: {lost} lost"
        if strict or 0 in after[:2]:
            raise DataError(f"{text}; is this the corpus that the protocol belongs to?")
        logger.warning(text)
    if not (restricted.train and restricted.trials):
        raise DataError(f"{name}: no training utterances or no trials")
    return restricted


def _refuse_lost(fold: Fold, restricted: Fold, name: str) -> None:
    """Refuse a trial list of which all or nearly all is lost."""
    kept = {"": restricted.trials, **restricted.more}
    for key, trials in {"": fold.trials, **fold.more}.items():
        if trials and len(kept[key]) < max(LEAST_KEPT * len(trials), 1):
            raise DataError(
                f"{name}/trials{'-' * bool(key)}{key}: {len(trials) - len(kept[key])} of "
                f"{len(trials)} trials have no recording; is this the corpus that the list "
                "belongs to?"
            )


_PARTS = ("training utterances", "enrolment utterances", "trials", "further trials")


def _size(fold: Fold) -> tuple[int, int, int, int]:
    return (
        len(fold.train),
        sum(map(len, fold.enroll.values())),
        len(fold.trials),
        sum(map(len, fold.more.values())),
    )


def _check_fold(fold: Fold, utt2spk: Mapping[str, str], name: str) -> Fold:
    """Refuse a fold that trains on test speakers or whose labels contradict the speakers."""
    for utterance, speaker in fold.train.items():
        if utt2spk[utterance] != speaker:
            raise DataError(
                f"{name}/train.utt2spk: {utterance} is said to be of {speaker}, but the corpus "
                f"has it under {utt2spk[utterance]}"
            )
    speaker_of: dict[str, str] = {}
    for enrol, utterances in fold.enroll.items():
        speakers = sorted({utt2spk[u] for u in utterances})
        if len(speakers) > 1:
            raise DataError(f"{name}/enroll: {enrol} has utterances of {' and '.join(speakers)}")
        speaker_of[enrol] = speakers[0]
    trained = set(fold.train.values())
    for key, trials in {"": fold.trials, **fold.more}.items():
        where = f"{name}/trials{'-' * bool(key)}{key}"
        _check_trials(trials, speaker_of, utt2spk, where)
        tested = {s for t in trials for s in (speaker_of[t.enrol], utt2spk[t.test])}
        if shared := sorted(trained & tested):
            if key in fold.closed_set:
                continue
            raise DataError(
                f"{where}: tests {len(shared)} speaker(s) of the training material "
                f"({shared[0]}, ...); take them out of train.utt2spk or of the trials"
            )
    return fold


def _check_trials(
    trials: list[Trial], speaker_of: Mapping[str, str], utt2spk: Mapping[str, str], where: str
) -> None:
    if len({(t.enrol, t.test) for t in trials}) != len(trials):
        (pair, _), *_ = Counter((t.enrol, t.test) for t in trials).most_common(1)
        raise DataError(f"{where}: trial {pair[0]} {pair[1]} stands there twice")
    for trial in trials:
        one, two = speaker_of[trial.enrol], utt2spk[trial.test]
        if trial.is_target is not None and trial.is_target != (one == two):
            said, truth = ("target", "nontarget")[:: 1 if trial.is_target else -1]
            raise DataError(
                f"{where}: {trial.enrol} {trial.test} is labelled {said}, but the speakers "
                f"({one}, {two}) make it {truth}"
            )


def _clear(out_dir: Path) -> None:
    """Remove what an earlier preparation left, the mark of completeness first."""
    (out_dir / "done.json").unlink(missing_ok=True)
    for folder in [out_dir / "wav", *out_dir.glob("fold[0-9]*")]:
        shutil.rmtree(folder, ignore_errors=True)


def _write_wav(recordings: list[Recording], genders: Mapping[str, str], folder: Path) -> None:
    utt2spk = {r.utterance: r.speaker for r in recordings}
    speakers = sorted(set(utt2spk.values()))
    known = all(speaker in genders for speaker in speakers)
    data = DataDir(
        wav_scp={r.utterance: str(r.path.absolute()) for r in recordings},
        utt2spk=utt2spk,
        # Kaldi's checks want the table to have every speaker.
        spk2gender={speaker: genders[speaker] for speaker in speakers} if known else {},
    )
    write_data_dir(folder, data)


def _write_fold(fold: Fold, folder: Path) -> None:
    with atomic_write(folder / "train.utt2spk", "w") as file:
        file.writelines(f"{u} {s}\n" for u, s in sorted(fold.train.items()))
    write_enroll(folder / "enroll", fold.enroll)
    write_trials(folder / "trials", fold.trials)
    for key, trials in fold.more.items():
        write_trials(folder / f"trials-{key}", trials)
