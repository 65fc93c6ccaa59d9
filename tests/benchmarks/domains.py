"""Trained in one domain, tested in another: what is noticed, adapted to, and trusted.

    python tests/benchmarks/domains.py [--work DIR] [--sources A0 B0 ...] [--draws 3]

The corpora of ../shared are the sources, half of their speakers each, and the targets: each other,
LibriSpeech, and themselves with noise of 10 dB, a band of 300 to 3400 Hz, GSM or MP3, 10 % more
speed or an echo; their own other speakers are the controls. Speakers of a target are on trial, or
give recordings without labels to adapt to, never both. I-vectors with PLDA and a GMM-UBM of the
recipes' sizes; the parts of the training speakers that calibration is learnt from as in the recipe.

Tables: of sets of unlabelled recordings, what is noticed; of PLDA by each method and by choice, and
of the GMM-UBM without and with the recordings as its cohort, EER and minDCF(0.01); of calibration,
actDCF(0.01) and Cllr as they are, with caution, and of a calibration learnt with labels on the
other half of the target's speakers. All pairs were looked at while defaults
were chosen. Features are kept in --work (1 GB); 7 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402
from domain_cases import SOURCES, Pair, Source  # noqa: E402

from fusion.calibration.caution import LEAST_DOUBT, caution  # noqa: E402
from fusion.calibration.linear import LinearFusion  # noqa: E402
from fusion.calibration.one_system import Calibration  # noqa: E402
from fusion.metrics import OperatingPoints  # noqa: E402
from plda.domains.evidence import evidence  # noqa: E402
from plda.domains.methods import METHODS, adapt_backend  # noqa: E402

SIZES = (20, 50, 200)  # recordings to adapt to
LEAST_SPEAKERS, LEAST_TARGETS = 40, 300  # of pairs whose gains are summed


def rates(llr: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Error rates of scores or llr."""
    points = OperatingPoints(llr[target], llr[~target])
    return {"eer": 100 * points.eer(), "min": points.min_dcf(0.01),
            "act": points.act_dcf(0.01), "cllr": points.cllr()}  # fmt: skip


def noticed(source: Source, pair: Pair, rng: np.random.Generator, n_sets: int = 60) -> list[float]:
    """Share of sets of 20 and of 50 recordings that are noticed, and of single ones."""
    X = pair.measures[pair.rows_of_target]
    sets = [
        np.mean([source.domain.distance(X[rng.choice(len(X), n, replace=False)]).outside
                 for _ in range(n_sets)])
        for n in (20, 50) if len(X) >= n
    ]  # fmt: skip
    return [*sets, float((source.domain.recordings(X).values > 1).mean())]


def adapted(source: Source, pair: Pair, rows: np.ndarray) -> dict:
    """Rates of PLDA by each method and by choice, and of the GMM-UBM with its cohort."""
    target, X = pair.target, pair.vectors[rows]
    found = {"none": rates(pair.scores(source.backend), target)}
    for method, entry in METHODS.items():
        if not entry.labelled:
            found[method] = rates(pair.scores(adapt_backend(source.backend, X, method)), target)
    judged = evidence(source.backend, X, "kaldi")
    found["chosen"] = found["kaldi" if judged.adapts else "none"]
    return {
        "plda": found,
        "shift": judged.shift,
        "adapts": judged.adapts,
        "gmm": {"none": rates(pair.gmm_scores(), target),
                "chosen": rates(pair.gmm_scores(rows), target)},
    }  # fmt: skip


def calibrated(source: Source, pair: Pair, rows: np.ndarray | None, adapts: bool) -> dict:
    """Rates of llr of both systems and their fusion: as they are, cautious, learnt with labels.

    With `rows` to adapt to the systems are those that `--adapt` gives, without them the plain ones.
    """
    dev = source.development(pair.n_enrol, pair.inner_vectors(rows) if adapts else None)
    backend = source.backend
    if adapts:
        backend = adapt_backend(backend, pair.vectors[rows], "kaldi")
    columns = {
        "ivector": (pair.scores(backend), dev.plda),
        "gmm-ubm": (pair.gmm_scores(rows), dev.gmm if rows is None else dev.gmm_s),
    }
    scores, learnt = (np.column_stack(part) for part in zip(*columns.values()))
    fusion = LinearFusion(bounded=True, non_negative=True).fit(learnt, dev.target)
    columns["fusion"] = scores @ fusion.weights_, learnt @ fusion.weights_
    found = {}
    for name, (new, known) in columns.items():
        model = Calibration(bounded=True).fit(known, dev.target)
        llr = fusion.transform(scores) if name == "fusion" else model.transform(new)
        doubt = caution(new, known[~dev.target], LEAST_DOUBT if rows is None else 0.0)
        with_labels, judged = pair.learnt_with_labels(new)
        found[name] = {
            "plain": rates(llr, pair.target),
            "cautious": rates(llr if pair.is_control else doubt.transform(llr), pair.target),
            "labelled": rates(with_labels[judged], pair.target[judged]),
            "doubt": doubt.doubt,
        }
    return found


def of_pair(source: Source, pair: Pair, draws: int) -> dict:
    """All that is found of one pair."""
    rng = np.random.default_rng(0)
    found = {
        "targets": int(pair.target.sum()),
        "speakers": pair.n_speakers,
        "noticed": noticed(source, pair, rng),
        "calibration": calibrated(source, pair, None, False),
        "sets": {},
    }
    for size in SIZES:
        for draw in range(draws):
            rows = np.random.default_rng([draw, size]).permutation(pair.unlabelled)[:size]
            if len(rows) < size:
                continue
            rows = np.sort(rows)  # as ids are: speakers stand together
            one = adapted(source, pair, rows)
            if size == 50:
                one["calibration"] = calibrated(source, pair, rows, one["adapts"])
            found["sets"].setdefault(str(size), []).append(one)
    return found


def gains(results: dict, size: str, metric: str) -> tuple[float, float]:
    """Sum over pairs of log(none / chosen), and of log(none / best)."""
    mine = best = 0.0
    for found in results.values():
        if found["speakers"] < LEAST_SPEAKERS or found["targets"] < LEAST_TARGETS:
            continue
        for one in found["sets"].get(size, ()):
            values = {name: row[metric] for name, row in one["plda"].items()}
            mine += np.log(values["none"] / values["chosen"])
            best += np.log(values["none"] / min(values.values()))
    return mine, best


def show(results: dict) -> None:
    """Print the tables."""
    heads = ["pair", "speakers, targets", "noticed of 20, of 50, single", "PLDA: none",
             "chosen (times adapted)", "best method", "GMM-UBM: none", "with cohort"]  # fmt: skip
    print("EER in %, minDCF(0.01); adapted to 50 recordings, or 20 where there are no more\n")
    print(_row(heads), _row(["---"] * len(heads)), sep="\n")
    for name, found in results.items():
        print(_row([name, f"{found['speakers']}, {found['targets']}", *_ranked(found)]))
    for size in map(str, SIZES):
        shares = [100 * mine / best for mine, best in (gains(results, size, m) for m in _SUMMED)]
        print(f"\n{size} recordings: of what the best method of each set would gain, the choice "
              f"gains {shares[0]:.0f} % in log EER, {shares[1]:.0f} % in log minDCF")  # fmt: skip
    heads = ["pair", "system", *["as calibrated", "with caution", "minDCF, Cllr with labels"] * 2]
    print("\nactDCF(0.01), Cllr; without adaptation, then adapted to 50 recordings\n")
    print(_row(heads), _row(["---"] * len(heads)), sep="\n")
    for name, found in results.items():
        for system, plain in found["calibration"].items():
            sets = [one["calibration"][system] for one in found["sets"].get("50", ())]
            print(_row([name, system, *_worth([plain]), *(_worth(sets) if sets else [])]))


_SUMMED = ("eer", "min")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ranked(found: dict) -> list[str]:
    """Cells of one pair: noticed, PLDA, GMM-UBM."""
    noticed = ", ".join(f"{100 * share:.0f}" for share in found["noticed"])
    sets = found["sets"].get("50") or found["sets"].get("20")

    def mean(system: str, way: str) -> tuple[float, float]:
        eer, least = np.mean([[one[system][way][m] for m in _SUMMED] for one in sets], axis=0)
        return float(eer), float(least)

    def cell(system: str, way: str) -> str:
        eer, least = mean(system, way)
        return f"{eer:.2f}, {least:.3f}"

    best = min(sets[0]["plda"], key=lambda way: mean("plda", way))
    did = f"{sum(one['adapts'] for one in sets)} of {len(sets)}"
    return [noticed, cell("plda", "none"), f"{cell('plda', 'chosen')} ({did})",
            f"{best} {cell('plda', best)}", cell("gmm", "none"), cell("gmm", "chosen")]  # fmt: skip


def _worth(rows: list[dict]) -> list[str]:
    """Cells of one system: costs and Cllr as calibrated, with caution, and what could be had."""
    kinds = [
        (("plain", "act"), ("plain", "cllr")),
        (("cautious", "act"), ("cautious", "cllr")),
        (("plain", "min"), ("labelled", "cllr")),
    ]
    found = [np.mean([[row[a][b] for a, b in kind] for row in rows], axis=0) for kind in kinds]
    return [f"{cost:.2f}, {bits:.2f}" for cost, bits in found]


def main() -> None:
    """Parse, go through the pairs, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("/tmp/domains"))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    for name in arguments.sources:
        source = Source(name, arguments.work)
        for target in source.targets:
            pair = Pair(source, target, arguments.work)
            results[pair.name] = of_pair(source, pair, arguments.draws)
            print(pair.name, file=sys.stderr, flush=True)
    (arguments.work / "results.json").write_text(json.dumps(results, indent=1))
    show(results)


if __name__ == "__main__":
    main()
