"""Cosine scores of embeddings, normalised by the training speakers (adaptive s-norm).

``python -m recipes.normalise_scores VECTORS --cohort train.utt2spk --trials LIST --out SCORES``.
The cohort has an entry for every training speaker, the average of the unit embeddings; each side
of a trial is normalised by its most similar ones (`plda.ScoreNorm`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ivector.base.cli import Parser, run, whole
from ivector.base.errors import DataError
from recipes.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


def normalised_scores(
    vectors: Mapping[str, np.ndarray],
    utt2spk: Mapping[str, str],
    trials: Sequence[tuple[str, str, bool | None]],
    enroll: Mapping[str, Sequence[str]] | None = None,
    top_n: int = 200,
) -> np.ndarray:
    """Adaptive s-norm of cosine scores.

    Parameters
    ----------
    vectors : mapping of str to ndarray (n_dims,)
    utt2spk : mapping of str to str
        Training utterances and their speakers; those without vector are passed over.
    trials : sequence of (enrol, test, is_target)
    enroll : mapping of str to sequence of str, optional
        Utterances of each enrolment id; other ids are utterances.
    top_n : int
        Cohort entries that normalise; at most all.

    Returns
    -------
    ndarray (n_trials,)

    Raises
    ------
    DataError
        An utterance without vector, or fewer than two training speakers with any.
    """
    import numpy as np

    from dnn.embedding.trials import needed_utterances, score_vectors, unit_vectors
    from plda import ScoreNorm

    if absent := [u for u in needed_utterances(trials, enroll) if u not in vectors]:
        raise DataError(f"utterance {absent[0]} of the trials has no vector; extract it too")
    used = [u for u in utt2spk if u in vectors]
    groups: dict[str, list[str]] = {}
    for utt in used:
        groups.setdefault(utt2spk[utt], []).append(utt)
    if len(groups) < 2:
        raise DataError(f"a cohort of {len(groups)} speakers with vectors; give two or more")

    def average(utts: Sequence[str]) -> np.ndarray:
        return unit_vectors(np.stack([vectors[u] for u in utts])).mean(axis=0)

    cohort = unit_vectors(np.stack([average(groups[s]) for s in sorted(groups)]))
    models = {key: i for i, key in enumerate(dict.fromkeys(t[0] for t in trials))}
    tests = {key: i for i, key in enumerate(dict.fromkeys(t[1] for t in trials))}
    enrol = unit_vectors(np.stack([average((enroll or {}).get(k, [k])) for k in models]))
    tested = unit_vectors(np.stack([vectors[k] for k in tests]))
    norm = ScoreNorm("as", top_n=min(top_n, len(cohort)))
    norm.fit(enrol @ cohort.T, tested @ cohort.T)
    scores = score_vectors(list(vectors), np.stack(list(vectors.values())), trials, enroll)
    i, j = np.array([(models[t[0]], tests[t[1]]) for t in trials]).T
    return norm.transform_trials(scores, i, j)


def to_unit_interval(scores: np.ndarray) -> np.ndarray:
    """Scores between 0 and 1 in the same order, none of them tied."""
    import numpy as np

    return 0.5 + 0.5 * scores / (1 + np.abs(scores))


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.normalise_scores", description=COMMANDS["normalise-scores"].sentence
    )
    add = parser.add_argument
    add("vectors", type=Path, help=".npz, .ark or .scp of dnn.extract, with those of the cohort")
    add("--cohort", type=Path, required=True, metavar="FILE", help="utt2spk of the training")
    add("--trials", type=Path, required=True, metavar="FILE", help="as for dnn.verify")
    add("--enroll", type=Path, metavar="FILE", help="'id utterance...', where ids are none")
    add("--out", type=Path, required=True, metavar="FILE", help="score file to write")
    add("--top-n", type=whole(2), default=200, help="cohort entries that normalise a score")
    add("--submission", action="store_true",
        help="'score id id', the score between 0 and 1, as tiny-voxceleb takes it")  # fmt: skip
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, score, normalise, write."""
    from dnn.embedding.trials import read_trial_list, read_vectors, write_scores
    from ivector.data import read_enroll, read_table

    trials = read_trial_list(arguments.trials)
    enroll = read_enroll(arguments.enroll) if arguments.enroll else None
    vectors = dict(zip(*read_vectors(arguments.vectors)))
    utt2spk = read_table(arguments.cohort, str)
    scores = normalised_scores(vectors, utt2spk, trials, enroll, arguments.top_n)
    if arguments.submission:
        scores = to_unit_interval(scores)
    write_scores(arguments.out, trials, scores, score_first=arguments.submission)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
