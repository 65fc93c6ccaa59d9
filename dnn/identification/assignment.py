"""What an identification experiment has to report, in tables and words.

Everything that is said is computed from the numbers of `dnn.identification.experiment`;
`dnn.identification.assignment_pages` sets it as PDF, Markdown and HTML.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnn.identification.differences import (
    Difference,
    extremes,
    independent_difference,
    paired_difference,
)
from dnn.identification.experiment import Experiment, Network, Point
from dnn.identification.figures import interval, percent
from dnn.identification.identifier import wilson_interval

PASS_MARK, PASS_SPEAKERS = 0.25, 50  # of the assignment, on its 50 speakers


# Tables

NETWORK_HEADER = ("network", "top-1 (%)", "95\u00a0% interval", "top-5 (%)", "parameters (10⁶)",
                  "epochs", "training (instances/s)", "inference (instances/s)")  # fmt: skip
FACTOR_HEADER = ("varied", "value", "top-1 (%)", "95\u00a0% interval", "parameters (10⁶)",
                 "training (instances/s)", "inference (instances/s)")  # fmt: skip


def network_rows(experiment: Experiment) -> list[list[str]]:
    """Cells under `NETWORK_HEADER`."""
    return [
        [
            network.name, percent(network.test["top1"]), interval(network.test["top1_interval"]),
            percent(network.test["top5"]), f"{network.speed['parameters'] / 1e6:.3g}",
            f"{network.speed['epochs']:.3g}", f"{network.speed['instances_per_s']:.1f}",
            f"{network.test['instances_per_s']:.1f}",
        ]
        for network in experiment.networks
    ]  # fmt: skip


def factor_rows(experiment: Experiment) -> list[list[str]]:
    """Cells under `FACTOR_HEADER`."""
    rows = []
    for title, points in experiment.factors.items():
        for point in points:
            if point.diverged:
                rows.append([title, f"{point.value:g}", "diverged", "–", "–", "–", "–"])
                continue
            test, training = point.record["test"], point.record["training"]
            rows.append([
                title, f"{point.value:g}", percent(test["top1"]), interval(test["top1_interval"]),
                f"{training['parameters'] / 1e6:.3g}", f"{training['instances_per_s']:.1f}",
                f"{test['instances_per_s']:.1f}",
            ])  # fmt: skip
    return rows


def machine_line(experiment: Experiment) -> str:
    """Hardware of the trainings."""
    told = experiment.networks[0].speed
    parts = [str(told["processor"]), f"{told['cores']} cores, {told['threads']} used"]
    parts += [f"GPU {told['gpu']}"] if "gpu" in told else []
    parts += [f"{told['memory_gib']} GiB of memory"] if "memory_gib" in told else []
    return "; ".join([*parts, f"PyTorch {told['torch']}, {told['system']}"]) + "."


# Words


def task(experiment: Experiment) -> str:
    """What was asked for, and how it was trained."""
    first = experiment.networks[0]
    n_speakers = len(experiment.speakers)
    return (
        f"Which of {n_speakers} speakers is it? {first.test['utterances']} utterances that no "
        "network saw are the test; guessing is right in "
        f"{100 / n_speakers:.2g} %. Networks were trained on crops of {first.options['n_frames']} "
        f"frames, in batches of {first.options['batch_size']}, with "
        f"{first.options['optimiser']} and a largest learning rate of {first.options['rate']:g}. "
        "Intervals are Wilson's at 95 %, those in brackets of differences paired by speaker on the "
        "same tests; they tell the chance of the tests, not that of another seed. Speeds include "
        "reading the records."
    )


def analysis(experiment: Experiment) -> list[str]:
    """Sentences on accuracy, learning, speed, what was varied, and confusions."""
    return [*comparisons(experiment), *effects(experiment), *confusions(experiment)]


def comparisons(experiment: Experiment) -> list[str]:
    """Sentences on the networks: accuracy, learning, speed."""
    learning = map(_learning, experiment.networks)
    return [*_accuracy(experiment), *learning, *_speed(experiment)]


def effects(experiment: Experiment) -> list[str]:
    """A sentence on each option that was varied."""
    return [_effect(title, points) for title, points in experiment.factors.items()]


def confusions(experiment: Experiment) -> list[str]:
    """A sentence on the mistakes of each network."""
    return [_confused(network) for network in experiment.networks]


def _accuracy(experiment: Experiment) -> list[str]:
    best, *others = experiment.networks
    n_speakers = len(experiment.speakers)
    text = (
        f"{best.name} answers {percent(best.test['top1'])} % of the tests right, "
        f"{best.test['top1'] * n_speakers:.3g} times as many as guessing"
    )
    low, high = best.test["top1_interval"]
    if n_speakers == PASS_SPEAKERS:
        verdict = (
            "above" if low > PASS_MARK else "below" if high < PASS_MARK else "on both sides of"
        )
        text += f"; its interval lies {verdict} the pass mark of {100 * PASS_MARK:.0f} %"
    sentences = [text + "."]
    for other in others:
        difference = paired_difference(best.test, other.test)
        sentences.append(
            f"{other.name} answers {difference} fewer right: {verdict_of(difference)}."
        )
    return sentences


def verdict_of(difference: Difference) -> str:
    """Whether the tests show a difference."""
    return "more than chance" if difference.beyond_chance else "no more than chance"


def _learning(network: Network) -> str:
    held, training = network.curves["held out"], network.curves["training"]
    text = f"{network.name} was trained for {network.speed['epochs']:.3g} epochs"
    if not len(held) or not len(training):
        return text + "."
    best = int(held[:, 1].argmax())
    text += (
        f"; its held-out accuracy was highest, {percent(held[best, 1])} %, after "
        f"{held[best, 0]:.3g}"
    )
    near = int(np.abs(training[:, 0] - held[best, 0]).argmin())
    text += f", when {percent(training[near, 1])} % of the training crops were right"
    if not (n_held := network.speed.get("validated")):
        return text + "."
    gap = _gap(training[near, 1], int(network.training_crops[near]), held[best, 1], n_held)
    if gap.low > 0:
        return text + (
            f": it learns by heart, {gap} more, and more utterances, or masks, would narrow that."
        )
    more = f"{gap} more, no more than chance" if gap.share > 0 else "no larger a share"
    return text + (
        f": {more}, so that {n_held} held-out utterances show no learning by heart; a larger "
        "network or longer training may still gain."
    )


def _gap(training: float, n_crops: int, held: float, n_held: int) -> Difference:
    """Right answers among training crops less those among held-out utterances."""
    of_crops = wilson_interval(round(training * n_crops), n_crops)
    return independent_difference(
        training, of_crops, held, wilson_interval(round(held * n_held), n_held)
    )


def _speed(experiment: Experiment) -> list[str]:
    first, *others = experiment.networks
    sentences = []
    for other in others:
        trained = other.speed["instances_per_s"] / first.speed["instances_per_s"]
        tested = other.test["instances_per_s"] / first.test["instances_per_s"]
        sizes = other.speed["parameters"] / first.speed["parameters"]
        sentences.append(
            f"{other.name} has {sizes:.3g} times the parameters of {first.name}, trains "
            f"{trained:.2g} times and answers {tested:.2g} times as fast."
        )
    return sentences


def _effect(title: str, points: Sequence[Point]) -> str:
    done = [point for point in points if not point.diverged]
    failed = [f"{point.value:g}" for point in points if point.diverged]
    text = f"{title}: "
    if failed:
        text += f"{' and '.join(failed)} diverged. "
    if len(done) < 2:
        return text + "too few trainings to compare."
    tests = [point.record["test"] for point in done]
    shares = [test["top1"] for test in tests]
    best, worst, difference = extremes(tests)
    rates = [point.record["training"]["instances_per_s"] for point in done]
    speed = (
        f"; from {done[0].value:g} to {done[-1].value:g} training goes from {rates[0]:.3g} to "
        f"{rates[-1]:.3g} instances/s."
    )
    if shares[best] == shares[worst]:
        return text + f"{percent(shares[best])} % right whatever it is{speed}"
    return text + (
        f"best at {done[best].value:g} ({percent(shares[best])} %), worst at {done[worst].value:g} "
        f"({percent(shares[worst])} %): {difference}, {verdict_of(difference)}" + speed
    )


def sweep_line(experiment: Experiment) -> str:
    """How long the trainings were in which options were varied, if they tell it in epochs."""
    points = [point for points in experiment.factors.values() for point in points]
    options = [point.record["identity"]["options"] for point in points]
    if not options or options[0].get("n_steps") or not options[0].get("epochs"):
        return ""
    return f"Each training lasted {options[0]['epochs']:g} epochs."


def _confused(network: Network) -> str:
    matrix = network.confusion
    n_wrong = int(matrix.sum() - np.trace(matrix))
    if not n_wrong:
        return f"{network.name} mistakes nobody."
    worst = network.test["worst_pairs"][0]
    weak = [name for name, (right, n) in network.test["by_speaker"].items() if 2 * right < n]
    return (
        f"{network.name} makes {n_wrong} mistakes, {worst['utterances']} of them by taking "
        f"{worst['speaker']} for {worst['taken_for']}; {len(weak)} of "
        f"{len(network.test['by_speaker'])} speakers are known in less than half of their tests."
    )
