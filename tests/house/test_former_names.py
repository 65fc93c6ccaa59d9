"""Imports that README and documentation have named stay valid when modules move."""

import importlib
import subprocess
import sys

import pytest

NAMED = {
    "fusion": ("read_scores", "write_scores"),
    "fusion.speakers": ("read_map", "mapped_speakers", "linked_speakers", "read_enrolments"),
    "ivector": ("MFCC", "DiagonalGMM", "EnergyVAD", "FullGMM", "TotalVariability", "read_audio"),
    "ivector.pipeline": ("FrontEnd",),
    "ivector.statistics": ("baum_welch", "BaumWelchStatistics"),
    "ivector.store": ("LogMelStore",),
    "ivector.total_variability": ("TotalVariability",),
    "plda": ("LDA", "PLDA", "Center", "LengthNorm"),
    "plda.formats": ("read_plda", "write_plda", "read_transform", "save_model", "load_model"),
    "plda.transforms": ("LDA", "length_norm"),
    "fusion.metrics": ("eer", "min_dcf", "cllr", "OperatingPoints"),
    "fusion.formats": ("read_scores", "read_trials", "align"),
    "fusion.calibration": ("Calibration",),
    "fusion.comparison": ("compare_systems",),
    "fusion.intervals": ("bootstrap_interval",),
    "fusion.plots": ("plot_det",),
}


@pytest.mark.parametrize("module", NAMED)
def test_imports(module):
    found = importlib.import_module(module)
    for name in NAMED[module]:
        assert callable(getattr(found, name)), name


def test_the_store_is_still_a_command_by_its_former_name():
    done = subprocess.run(
        [sys.executable, "-m", "ivector.store", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "usage" in done.stdout
