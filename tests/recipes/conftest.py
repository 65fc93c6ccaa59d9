"""A small finished experiment, made once for all tests of the recipe."""

import shutil
from pathlib import Path

import pytest
import soundfile
from scipy.signal import butter, sosfilt
from step_cases import CORPUS, SMALL, run_stages

from recipes.experiment.cohort import read_others

BOTH = (0, 1, 2, 3, 4, 5, 6, 9, 10)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """All stages of the classical systems, calibrated and fused, by one process.

    Eight speakers of four recordings; to be read, or copied.
    """
    folder = tmp_path_factory.mktemp("finished")
    return run_stages(folder, BOTH, *CORPUS, *SMALL, "--dev-folds", "2", "--nj", "1")


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy to change; its lists name the archives and the recordings of the original."""
    audio = shutil.ignore_patterns("audio")
    shutil.copytree(finished, tmp_path / "x", symlinks=True, ignore=audio)
    return tmp_path / "x"


@pytest.fixture(scope="session")
def others(tmp_path_factory):
    """A data directory of twenty recordings of ten other speakers than the experiment's."""
    from recipes import prepare

    folder = tmp_path_factory.mktemp("others")
    words = ["--speakers", "10", "--sessions", "2", "--seed", "5"]
    prepare.make(prepare.parse("synthetic", words, folder, "test"), 1)
    return folder / "wav"


@pytest.fixture(scope="session")
def narrow(others, tmp_path_factory):
    """Twenty recordings of other speakers, of which 800 to 1500 Hz are left."""
    folder = tmp_path_factory.mktemp("narrow")
    for utt, path, *_ in read_others(others, "x"):
        samples, rate = soundfile.read(path)
        band = butter(8, (800, 1500), "band", fs=rate, output="sos")
        soundfile.write(folder / f"{utt[2:]}.wav", sosfilt(band, samples), rate)
    return folder
