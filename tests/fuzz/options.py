"""Hostile values of every option of every command, from the commands' own parsers."""

from __future__ import annotations

import argparse
import importlib
import random
from functools import cache

from recipes.program import table

PACKAGES = ("ivector", "plda", "fusion", "dnn", "recipes")  # cases depend on this order
VALUES = [
    "99999999999999999999", "-99999999999999999999", "1e400", "-1", "nan", "inf", "-inf", "", " ",
    "\udcff", "$$=a", "$x^{", "a" * 100_000, "\x1b[31m", "%s", "{}", "%", "None", "1_0", "٣",
    "0x1F", "[" * 10_000, "a=" + "[" * 100_000, "a=b", "=", "@x", "-", "\n", "../x", "/", ".",
    "x\0y", "1e309", "9" * 5000, "0.0000000000000000000000001e-300", "a/b", "A=scores", "scores",
    "no such file", "é",
]  # fmt: skip
# Where a command gets with values that are right, so that others are looked at after the parser.
BASE: dict[str, list[str]] = {
    "plda score": ["plda", "vectors.ark", "vectors.ark", "trials", "out/scores"],
    "fusion lint": ["scores", "trials"],
    "fusion evaluate": ["scores", "trials", "--bootstrap", "0"],
    "fusion calibrate": ["scores", "trials", "--folds", "0", "--bootstrap", "0"],
    "fusion fuse": ["A=scores", "B=other", "trials", "--folds", "0", "--bootstrap", "0"],
    "fusion compare": ["A=scores", "B=other", "--trials", "trials", "--bootstrap", "20"],
    "fusion validate": ["scores", "trials", "--bootstrap", "0", "--folds", "0"],
    "dnn extract": ["network", "--features", "feats.scp", "--out", "out/x.npz", "--device", "cpu"],
    "dnn verify": ["--vectors", "embeddings.npz", "--trials", "trials", "--out", "out/v"],
    "recipes validate": ["data"],
    "recipes steps": ["check"],
}
# They would wait for a machine that is not there, or do what was asked for, at length.
LEFT_OUT = {"--scheduler", "--backend", "--help", "--nj"}


@cache
def commands() -> dict[str, list[argparse.Action]]:
    """Options and arguments of each command."""
    found = {}
    for package in PACKAGES:
        for name, entry in table(package).items():
            parser = importlib.import_module(entry.module).make_parser()
            found[f"{package} {name}"] = [*_actions(parser)]
    return found


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        action
        for action in parser._actions
        if not LEFT_OUT & set(action.option_strings)
        and not isinstance(action, argparse._SubParsersAction)
    ]


def make(rng: random.Random) -> list[str]:
    """Words of a command, some of them hostile."""
    name = rng.choice([*commands(), "recipes steps"])
    base = list(BASE.get(name, []))
    if name == "recipes steps":
        return [*name.split(), *base, *_recipe_words(rng)]
    words: list[str] = []
    for action in rng.sample(
        commands()[name], min(len(commands()[name]), rng.choice([1, 1, 2, 3]))
    ):
        value = rng.choice(VALUES)
        if not action.option_strings:
            at = rng.randrange(len(base) + 1)
            base[at : at + 1] = [value]
        elif action.nargs == 0:
            words.append(action.option_strings[-1])
        else:
            words.append(f"{action.option_strings[-1]}={value}")
    return [*name.split(), *base, *words]


def _recipe_words(rng: random.Random) -> list[str]:
    from recipes.engine.settings import TABLE

    names = rng.sample(sorted(TABLE.options), rng.choice([1, 1, 2]))
    words = []
    for name in names:
        words += [f"--{name.replace('_', '-')}", rng.choice(VALUES)]
    return words
