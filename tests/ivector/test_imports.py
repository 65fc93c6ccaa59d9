"""Modules that many processes import load no library that they can do without."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("ivector", {"numpy"}),
        ("plda", {"numpy"}),
        ("ivector.base.cli", {"numpy", "joblib", "distributed"}),
        ("ivector.data", {"scipy", "sklearn", "numba"}),
        ("ivector.pipeline", {"scipy", "sklearn", "numba"}),
        ("ivector.features.store", {"scipy", "sklearn", "numba"}),
        ("ivector.formats.statistics", {"scipy", "sklearn", "numba"}),
        ("ivector.total_variability.model", {"numba"}),
        ("plda.formats.models", {"numba"}),
    ],
)
def test_imports_are_light(module, without):
    code = f"import sys, {module}; print(*{without!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
