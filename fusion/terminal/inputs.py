"""What the commands share: options of trial files; systems, scores, speakers and conditions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.formats import corpus_ids
from ivector.base.cli import Parser
from ivector.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.formats.speakers import TrialSpeakers
    from fusion.formats.tables import ScoredTrials, Trials

POOLED = "pooled"
# What names files of systems, NAME=FILE or plain, and the options that name files to write.
SYSTEM_FILES = ("scores", "inputs", "apply", "files", "trials")
OUTPUTS = ("out", "json", "markdown", "det", "roc", "histogram", "tippett", "reliability")
AUTO, TRIALS = "auto", "trials"  # rules by which speakers are told
RULES = (AUTO, TRIALS, *corpus_ids.RULES)
MOST = 10**6  # replicates, folds or trials shown that an option asks for


def add_trial_options(parser: Parser) -> None:
    """Add the options that say how scores and trials are read and whose they are."""
    parser.parameters |= {
        "models": "--enroll", "n_bootstrap": "--bootstrap", "n_folds": "--folds",
    }  # fmt: skip
    add = parser.add_argument
    add("--utt2spk", type=Path, metavar="FILE",
        help="speakers of the test utterances (and of enrolment), to draw in the bootstrap; "
        "without it they are told from the target trials")  # fmt: skip
    add("--speaker-ids", choices=RULES, default=AUTO, metavar="RULE",
        help=f"how ids tell the speakers, without --utt2spk: {', '.join(RULES)}; auto takes the "
        "ids of a known corpus if all are, and no label contradicts them, else trials, which joins "
        "what target trials join")  # fmt: skip
    add("--enroll", type=Path, metavar="FILE",
        help="'model utterance...' lines, where a model is named neither as an utterance nor as "
        "a speaker of --utt2spk")  # fmt: skip
    add_choice_of_columns(parser)
    add("--subset", action="store_true",
        help="let score files hold pairs that are not in TRIALS, to measure a part")  # fmt: skip
    add("--allow-duplicates", action="store_true",
        help="count a trial that is listed several times as often")  # fmt: skip


def add_fold_options(
    parser: argparse.ArgumentParser, pooled: str = "files of the same NAME"
) -> None:
    """Add the options for systems whose scores are several files and lists."""
    add = parser.add_argument
    add("--trials", dest="more_trials", nargs="+", default=[], metavar="FILE", type=Path,
        help="further trial lists, read on after TRIALS; for folds")  # fmt: skip
    add("--pool", action="store_true",
        help=f"take {pooled} for parts of one system, such as folds; without it, each is a "
        "system")  # fmt: skip


def add_choice_of_columns(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the columns of files in which several could be the same."""
    add = parser.add_argument
    add("--score-column", default="auto", metavar="NAME",
        help="column of the scores: its name, or first or last, if ids are "
        "numbers")  # fmt: skip
    add("--label-column", default="auto", metavar="NAME",
        help="name of the column of labels, where a header has several")  # fmt: skip


def check_trial_options(arguments: argparse.Namespace) -> None:
    """Refuse options of `add_trial_options` that make no sense together, and lost inputs."""
    check_outputs(arguments)
    if 0 < (arguments.bootstrap if "bootstrap" in arguments else 0) < 20:
        raise UsageError(f"--bootstrap: give at least 20 or 0, got {arguments.bootstrap}")
    if arguments.enroll and not arguments.utt2spk:
        raise UsageError("--enroll: needs --utt2spk, which has the speakers of its utterances")
    if arguments.utt2spk and arguments.speaker_ids != AUTO:
        raise UsageError("--speaker-ids: give it or --utt2spk, which tells the speakers itself")


def check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse to write a file over another that the same command reads or writes."""
    known = vars(arguments)
    written = {name: known[name] for name in OUTPUTS if known.get(name)}
    if known.get("model") and known.get("inputs"):  # else it is read
        written["model"] = known["model"]
    seen: dict[str, str] = {}
    for name, value in known.items():
        for one in value if isinstance(value, list) else [value]:
            if name not in written and (isinstance(one, Path) or name in SYSTEM_FILES):
                files = (str(one), _file(str(one)))
                seen |= dict.fromkeys(map(os.path.realpath, files), "an input")
    for name, path in written.items():
        place = os.path.realpath(path)
        if place in seen:
            raise UsageError(
                f"--{name}: {path} is already {seen[place]} of this command; give another file"
            )
        seen[place] = f"--{name}"


def _file(text: str) -> str:
    """File of ``NAME=FILE``."""
    return text.partition("=")[2] or text


def add_column_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that name conditions; `what` is done with the trials of each."""
    add = parser.add_argument
    add("--columns", nargs="+", default=[], type=Path, metavar="FILE",
        help="tables with a header 'enrol test COLUMN...' or 'id COLUMN...'")  # fmt: skip
    add("--by", nargs="+", default=[], metavar="COLUMN",
        help=f"columns of --columns by whose values trials are {what} apart, such as "
        "test_gender; numbers are cut into quarters; without it all")  # fmt: skip


def check_column_options(arguments: argparse.Namespace) -> None:
    """Refuse options of `add_column_options` that make no sense together."""
    if arguments.by and not arguments.columns:
        raise UsageError("--by: needs --columns, the tables that have them")


def conditions(arguments: argparse.Namespace, trials: Trials) -> dict[str, np.ndarray]:
    """Columns of --columns by which trials are taken apart.

    Raises
    ------
    UsageError
        No table has a column of --by.
    """
    if not arguments.columns:
        return {}
    from fusion.formats.measures import read_columns, trial_columns

    found = trial_columns([read_columns(path) for path in arguments.columns], trials)
    missing = [name for name in arguments.by if name not in found]
    if missing:
        raise UsageError(
            f"--by: no table has a column {missing[0]!r}; there are {', '.join(found)}"
        )
    return {name: found[name] for name in arguments.by or found}


def systems(given: list[str], pool: bool = False) -> dict[str, list[Path]]:
    """Score files of each system, by name, in the order given.

    Parameters
    ----------
    given : list of str
        ``NAME=FILE``, or a file, whose stem is then the name.
    pool : bool
        Whether files of the same name (all, if none is named) are parts of one system.

    Raises
    ------
    UsageError
        A name without a file, or several files of one name without `pool`.
    """
    found: dict[str, list[Path]] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or os.path.exists(text):
            name, file = "", text
        if equals and not file:
            raise UsageError(f"{text}: give NAME=FILE")
        path = Path(file)
        stem = Path(path.stem).stem if path.suffix == ".gz" else path.stem
        found.setdefault(name or (POOLED if pool else stem), []).append(path)
    twice = [name for name, paths in found.items() if len(paths) > 1]
    if twice and not pool:
        raise UsageError(
            f"{len(found[twice[0]])} score files are named {twice[0]!r}; name them with "
            "NAME=FILE, or give `pool` if they are parts of one system"
        )
    return found


def scored(paths: list[Path], trials: Trials, arguments: argparse.Namespace) -> ScoredTrials:
    """Scores of one system's files for trials of both classes.

    Raises
    ------
    DataError
        What `read_scores`, `align` and `ScoredTrials.check` raise.
    """
    from fusion.formats.files import align, read_scores

    found = align(
        read_scores(paths, arguments.score_column, arguments.label_column),
        trials,
        subset=arguments.subset,
        allow_duplicates=arguments.allow_duplicates,
    )
    found.check()
    return found


def speakers(trials: Trials, options: Any) -> TrialSpeakers:
    """Speakers of trials: by the maps of files, by their ids, or as far as target trials tell them.

    `options` has those of `add_trial_options` that tell them: utt2spk, enroll and speaker_ids.

    Raises
    ------
    DataError
        What the readers of the maps, `mapped_speakers` and `named_speakers` raise.
    """
    from fusion.formats.speakers import (
        linked_speakers,
        mapped_speakers,
        named_speakers,
        read_enrolments,
        read_map,
        told_speakers,
    )

    rule = options.speaker_ids
    if not options.utt2spk:
        if rule == AUTO:
            return told_speakers(trials)
        return linked_speakers(trials) if rule == TRIALS else named_speakers(trials, rule)
    speaker = read_map(options.utt2spk)
    models = read_enrolments(options.enroll, speaker) if options.enroll else None
    return mapped_speakers(trials, speaker, models)
