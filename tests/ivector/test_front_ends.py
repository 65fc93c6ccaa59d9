"""Log-mel presets against torchaudio's own numbers on real speech."""

import numpy as np
import pytest

from ivector import LogMel
from ivector.features.frontend import make_window, mel_triangles
from ivector.features.store import PRESETS


@pytest.mark.golden
@pytest.mark.parametrize(
    ("preset", "theirs"),
    [
        ("voxsrc2020", "voxsrc_seed"),
        ("clovaai", "clovaai_unit"),
        ("clovaai-int16", "clovaai_int16"),
        ("voxsrc", "clovaai_unit"),
    ],
)
def test_presets_are_torchaudio(golden, preset, theirs):
    with np.load(golden / "logmel" / "torchaudio.npz") as arrays:
        samples, wanted = arrays["samples"], arrays[theirs]
    mine = LogMel(**PRESETS[preset]).transform(samples)
    assert mine.shape == wanted.T.shape == (301, 40)
    np.testing.assert_allclose(mine, wanted.T, atol=1e-3, rtol=1e-3)
    # Both compute in float32: where an energy is e^20 times below that of its frame, either may
    # be 1e-3 off the exact logarithm. Ours shall not be further off than torchaudio's.
    exact = _exact(samples, PRESETS[preset])
    assert np.abs(mine - exact).max() <= np.abs(wanted.T - exact).max()
    assert np.mean(np.abs(mine - wanted.T) > 1e-3) <= 2e-4


def _exact(samples, preset):
    """Log-mel energies in double precision, by NumPy's Fourier transform."""
    scale = 1 if preset["flavour"].endswith("int16") else 1 / 32768
    padded = np.pad(samples * scale, 256, mode="reflect")
    window = np.zeros(512)
    window[56:456] = make_window(preset["window_type"], 400, 0.42, periodic=True)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::160]
    triangles = mel_triangles(40, 512, 16000.0, 0.0, 8000.0, linear_in="hz")
    return np.log(np.abs(np.fft.rfft(frames * window)) ** 2 @ triangles.T + 1e-6)


def test_int16_scale_is_a_factor_within_the_logarithm():
    """Of the flavour, 32768² on energies that are far above the offset."""
    samples = np.random.default_rng(0).normal(0, 3000, 16000).round()
    options = {**PRESETS["clovaai"], "full_scale": 32768.0}
    unit = LogMel(**options).transform(samples)
    whole = LogMel(**{**options, "flavour": "torchaudio-int16"}).transform(samples)
    np.testing.assert_allclose(whole - unit, 2 * np.log(32768), atol=1e-3)
