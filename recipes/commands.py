"""Table of the recipes' commands, and the recipes by name: shell scripts beside this file."""

from __future__ import annotations

from pathlib import Path

from ivector.base.commands import Command

HERE = Path(__file__).resolve().parent

COMMANDS = {
    "validate": Command(
        "recipes.validate", "name every defect of a data directory or a prepared corpus"
    ),
    "prepare": Command(
        "recipes.prepare", "turn a corpus into data directories and trials, as stage 0"
    ),
    "inner-folds": Command(
        "recipes.inner_folds",
        "cut training speakers into folds, to choose options without the trials",
    ),
    "select": Command("recipes.select", "try options on inner folds, and print the best first"),
    "miniature": Command(
        "recipes.miniature", "generate a small corpus in the layout of a real one"
    ),
    "train-embedding": Command(
        "recipes.train_embedding",
        "train a network of the verification systems; resumes where it was stopped",
    ),
    "normalise-scores": Command(
        "recipes.normalise_scores", "cosine scores normalised by the training speakers"
    ),
    "submit": Command(
        "recipes.submit", "submissions to tiny-voxceleb, of every system and of their fusion"
    ),
    "cut-speakers": Command(
        "recipes.cut_speakers", "cut a folder of speakers for closed-set identification"
    ),
    "identify-classical": Command(
        "recipes.identify_classical", "i-vectors and GMM-UBM on a closed set"
    ),
    "identify-report": Command(
        "recipes.identify_report", "one table of all systems on a closed set"
    ),
}


def scripts() -> dict[str, tuple[Path, str]]:
    """Recipes by name: the script, and its first line of comment.

    Scripts that are sourced by others have no ``#!`` line.

    Examples
    --------
    >>> path, line = scripts()["run"]
    >>> path.name, line
    ('run.sh', 'The whole road from recordings to error rates and a report, stage by stage.')
    """
    found = {}
    for path in sorted(HERE.glob("*.sh")):
        with path.open(encoding="utf-8") as file:
            if next(file).startswith("#!"):
                found[path.stem] = path, next(file).strip("# \n")
    return found
