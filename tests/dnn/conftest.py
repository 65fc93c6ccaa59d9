"""Recordings, miniature sets of the identification tasks, and a network trained on one."""

import pytest
import soundfile
from source_cases import RATE, rng

from dnn.miniature import Sizes, make


@pytest.fixture
def audio(tmp_path):
    """Three recordings, one of them at 8 kHz."""
    paths = {}
    for i, (utt, rate) in enumerate((("a", RATE), ("b", RATE), ("c", 8000))):
        paths[utt] = tmp_path / f"{utt}.wav"
        samples = 0.1 * rng(i).standard_normal(round((1.0 + 0.37 * i) * rate))
        soundfile.write(paths[utt], samples, rate)
    return paths


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Records of three speakers, three to train on and one to test each."""
    folder = tmp_path_factory.mktemp("some records") / "set"
    make("records", folder, Sizes(3, 3, 1))
    return folder


@pytest.fixture(scope="session")
def mels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mels") / "set"
    make("mels", folder, Sizes(4, 8, 2))
    return folder


@pytest.fixture(scope="session")
def trained(mels, tmp_path_factory):
    """Training of a tiny Conformer, by the command."""
    from identification_cases import SMALL, identify  # which need torch

    out = tmp_path_factory.mktemp("a training")
    assert identify("train", mels, "--held-out", 2, "--out", out, "--steps", 60, *SMALL) == 0
    return out
