"""Kaldi's commands that score trials, and its error rate."""

from __future__ import annotations

from typing import Any

from ivector.base.errors import DataError, named
from ivector.base.kaldi_cli.declared import Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

_NORM = (
    Option("normalize-length", True, "scale transformed vectors to the length that PLDA expects"),
    Option("simple-length-normalization", False, "scale them to the length √D instead"),
)


@kaldi_command(
    "ivector-plda-scoring",
    "score trials by PLDA: natural-log likelihood ratios",
    "plda-rxfilename enrol-rspecifier:vector test-rspecifier:vector trials-rxfilename "
    "scores-wxfilename",
    Option("num-utts", "", "table of how many utterances an enrolment vector is the mean of; "
           "without it they count as one", table="int@id"),
    *_NORM,
)  # fmt: skip
def ivector_plda_scoring(
    options: Any, plda: str, enrol: Any, test: Any, trials: str, scores_out: str
) -> None:
    """Write ``enrol-id test-id score`` lines in the order of the trials."""
    import numpy as np

    from plda.formats.models import read_plda
    from plda.kaldi.gathered import gather

    model = read_plda(plda)
    enrol_ids, enrolled = gather(enrol, "the enrolment vectors")
    test_ids, tested = gather(test, "the test vectors")
    pairs, rows, columns = _trials(trials, enrol_ids, test_ids)
    used = np.unique(rows)
    counts = np.ones(len(enrol_ids))
    if options.num_utts:
        for row in used.tolist():
            count = options.num_utts.get(enrol_ids[row])
            if count is None:
                raise DataError(f"--num-utts: has no count for {enrol_ids[row]}")
            counts[row] = count
    with named(plda):
        scores = model.score_trials(
            enrolled.astype(np.float64), tested.astype(np.float64), rows, columns, counts,
            normalize_length=options.normalize_length,
            simple_length_norm=options.simple_length_normalization,
        )  # fmt: skip
    _write(scores_out, pairs, scores)


@kaldi_command(
    "ivector-compute-dot-products",
    "score trials by inner products of vectors; cosines, if these have length 1",
    "trials-rxfilename enrol-rspecifier:vector test-rspecifier:vector scores-wxfilename",
)
def ivector_compute_dot_products(
    options: Any, trials: str, enrol: Any, test: Any, scores_out: str
) -> None:
    """Write ``enrol-id test-id score`` lines in the order of the trials."""
    from plda.kaldi.gathered import gather
    from plda.scoring.cosine import dot_products

    enrol_ids, enrolled = gather(enrol, "the enrolment vectors")
    test_ids, tested = gather(test, "the test vectors")
    pairs, rows, columns = _trials(trials, enrol_ids, test_ids)
    _write(scores_out, pairs, dot_products(enrolled, tested, rows, columns))


@kaldi_command(
    "ivector-plda-scoring-dense",
    "score all pairs of the i-vectors of each recording by PLDA, in its own principal axes",
    "plda-rxfilename reco2utt-rspecifier:words ivector-rspecifier:vector@id "
    "scores-wspecifier:matrix",
    Option("target-energy", 0.5, "share of a recording's variance that its principal axes keep"),
    *_NORM,
)
def ivector_plda_scoring_dense(
    options: Any, plda: str, reco2utt: Any, ivector: Any, scores_out: Any
) -> None:
    """Write a matrix of scores for each recording, in the order of its segments."""
    from plda.formats.models import read_plda
    from plda.kaldi.gathered import gather
    from plda.scoring.dense import dense_scores

    model, tally = read_plda(plda), Tally("recordings")
    for recording, keys in reco2utt:
        rows = [(key, ivector.get(key)) for key in keys]
        if missing := [key for key, vector in rows if vector is None]:
            raise DataError(f"{recording}: there is no i-vector of {missing[0]}")
        if not rows:
            tally.miss(recording, "has no segments")
            continue
        with named(recording):
            scores = dense_scores(
                model, gather(rows, recording)[1], options.target_energy,
                options.normalize_length, options.simple_length_normalization,
            )  # fmt: skip
        scores_out.write(recording, scores)
        tally.done += 1
    tally.end()


@kaldi_command(
    "compute-eer",
    "print the equal error rate in per cent, in Kaldi's coarse steps, of scores with their labels",
    "scores-rxfilename",
)
def compute_eer(options: Any, scores: str) -> None:
    """Print the rate of 'score target' and 'score nontarget' lines, without an end of line."""
    import numpy as np

    from ivector.base.files import read_lines

    found: dict[str, list[float]] = {"target": [], "nontarget": []}
    for number, line in enumerate(read_lines(scores), 1):
        fields = line.split()
        try:
            value, label = float(fields[0]), found[fields[1]]
        except (IndexError, KeyError, ValueError):
            value, label = np.nan, []
        if len(fields) != 2 or not np.isfinite(value):
            raise DataError(
                f"{scores}, line {number}: expected 'score target|nontarget', got {line!r}"
            )
        label.append(value)
    if lacking := [name for name, values in found.items() if not values]:
        raise DataError(f"{scores}: has no {lacking[0]} scores")
    print(f"{100 * _step_eer(found['target'], found['nontarget']):.4g}", end="")


def _step_eer(target: Any, nontarget: Any) -> float:
    """Kaldi's ``ComputeEer``: the first target, by score, above its counterpart nontarget."""
    import numpy as np

    targets = np.sort(np.array(target, np.float32))
    others = np.sort(np.array(nontarget, np.float32))
    position = np.arange(len(targets) - 1)
    counterpart = len(others) - 1 - (len(others) * position / len(targets)).astype(int)
    crossed = others[np.maximum(counterpart, 0)] < targets[:-1]
    first = int(np.argmax(crossed)) if crossed.any() else len(targets) - 1
    return first / len(targets)


def _trials(path: str, enrol_ids: list[str], test_ids: list[str]) -> tuple[list, Any, Any]:
    """Trials of a list that have both vectors, as pairs of ids, rows and columns."""
    import numpy as np

    from ivector.base.files import read_lines

    row_of = {key: row for row, key in enumerate(enrol_ids)}
    column_of = {key: column for column, key in enumerate(test_ids)}
    pairs, rows, columns, tally = [], [], [], Tally("trials")
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) < 2:
            raise DataError(f"{path}, line {number}: expected 'enrol-id test-id', got {line!r}")
        row, column = row_of.get(fields[0]), column_of.get(fields[1])
        if row is None or column is None:
            side, key = ("enrolment", fields[0]) if row is None else ("test", fields[1])
            tally.miss(f"{fields[0]} {fields[1]}", f"there is no {side} vector of {key}")
            continue
        pairs.append((fields[0], fields[1]))
        rows.append(row)
        columns.append(column)
    tally.done = len(pairs)
    tally.end()
    return pairs, np.array(rows), np.array(columns)


def _write(path: str, pairs: list[tuple[str, str]], scores: Any) -> None:
    from ivector.base.files import atomic_write

    with atomic_write(path, "w") as file:
        for (enrol, test), score in zip(pairs, scores.tolist()):
            file.write(f"{enrol} {test} {score:.7g}\n")
