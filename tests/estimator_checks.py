"""scikit-learn's checks of every estimator, and the few that cannot apply, with the reasons.

A package's tests declare `CASES`, a list of (estimator, {name of a check: why it cannot hold});
``python tests/estimator_checks.py`` prints the table of all packages.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

Case = tuple[Any, Mapping[str, str]]
MODULES = ("ivector.test_gmm_api", "ivector.test_tv_api", "ivector.test_features_api",
           "plda.test_plda_api", "fusion.test_fusion_api")  # fmt: skip
LARGEST = 5


def parametrize(cases: Sequence[Case]) -> Any:
    """A decorator of ``test(estimator, check)``; a check that cannot hold must indeed fail."""
    if "expected_failed_checks" not in inspect.signature(parametrize_with_checks).parameters:
        return pytest.mark.skip("scikit-learn before 1.6 knows no exceptions from its checks")
    reasons = {id(estimator): dict(why) for estimator, why in cases}
    return parametrize_with_checks(
        [estimator for estimator, _ in cases],
        expected_failed_checks=lambda estimator: reasons[id(estimator)],
        xfail_strict=True,
    )


def main() -> None:
    """Print the table: estimator, checks passed, and those that cannot apply."""
    folder = Path(__file__).resolve().parent
    sys.path[:0] = [str(folder.parent), str(folder)]
    for module in MODULES:
        package, name = module.split(".")
        sys.path.insert(0, str(folder / package))
        for estimator, why in importlib.import_module(name).CASES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = check_estimator(
                    estimator, expected_failed_checks=dict(why), on_fail=None, on_skip=None
                )
            states = [result["status"] for result in results]
            print(
                f"{estimator!r:60.60}  {states.count('passed'):3} passed, "
                f"{states.count('skipped')} skipped, {states.count('failed')} failed, "
                f"{states.count('xfail')} cannot apply"
            )
            for result in results:
                if result["status"] in ("xfail", "failed", "skipped"):
                    reason = why.get(result["check_name"], result["exception"])
                    print(f"    {result['status']} {result['check_name']}: {reason}")


if __name__ == "__main__":
    main()
