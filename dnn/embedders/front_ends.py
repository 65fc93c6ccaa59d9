"""What speaker networks of others take of a recording, by the toolkit that they come from.

All are of the whole recording, silence included; samples are read by
`ivector.features.audio.read_audio`, in the scale of 16-bit integers.

T frames, B mel bins, K length of the Fourier transform.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ivector.features.audio import FULL_SCALE
from ivector.features.extractors import LogMel
from ivector.features.frontend import Frontend, make_window

RATE = 16000  # Hz, of all the networks that these toolkits publish
BINS = 80  # where a network leaves the number open

# Of SpeechBrain's ``Filterbank`` and ``STFT``: frames and the transform in seconds, the floor of a
# bin, and how far below the loudest bin of a recording one may lie, in decibels.
_FRAME_S, _SHIFT_S, _FLOOR, _TOP_DB = 0.025, 0.010, 1e-10, 80.0


@dataclass(frozen=True)
class EmbedderFrontEnd:
    """What networks of one kind take.

    Parameters
    ----------
    about : str
        In one line.
    checked : str
        Code that the numbers were held against.
    compute : callable
        Of samples (n_samples,) float32 in the scale of 16-bit integers, their rate in Hz and a
        number of bins: (T, bins), or samples (n_samples,), float32.
    takes_samples : bool
    """

    about: str
    checked: str
    compute: Callable[[np.ndarray, int, int], np.ndarray]
    takes_samples: bool = False


def _samples_in_one(samples: np.ndarray, rate: int, n_bins: int) -> np.ndarray:
    return samples * np.float32(1 / FULL_SCALE)


def _wespeaker(samples: np.ndarray, rate: int, n_bins: int) -> np.ndarray:
    return _centred(_kaldi("hamming", rate, n_bins).transform(samples))


def _three_d_speaker(samples: np.ndarray, rate: int, n_bins: int) -> np.ndarray:
    # In ±1, so that Kaldi's floor under the logarithm is higher by 20.8 than on 16-bit integers.
    return _centred(_kaldi("povey", rate, n_bins).transform(_samples_in_one(samples, rate, n_bins)))


def _speechbrain(samples: np.ndarray, rate: int, n_bins: int) -> np.ndarray:
    frontend = _decibel_energies(rate, n_bins)
    edge = np.zeros(frontend.n_fft // 2, np.float32)
    padded = np.concatenate([edge, _samples_in_one(samples, rate, n_bins), edge])
    decibels = 10 * np.log10(np.maximum(frontend(padded), _FLOOR))
    return _centred(np.maximum(decibels, decibels.max(initial=-np.inf) - _TOP_DB))


FRONT_ENDS: dict[str, EmbedderFrontEnd] = {
    "wespeaker": EmbedderFrontEnd(
        "WeSpeaker: Kaldi's log-mel energies, Hamming window, 16-bit scale, mean taken off",
        "its bin/infer_onnx.py, and kaldi-native-fbank 1.23",
        _wespeaker,
    ),
    "3d-speaker": EmbedderFrontEnd(
        "3D-Speaker: Kaldi's log-mel energies, Povey window, samples in ±1, mean taken off",
        "its speakerlab/process/processor.py, and kaldi-native-fbank 1.23",
        _three_d_speaker,
    ),
    "speechbrain": EmbedderFrontEnd(
        "SpeechBrain: its log-mel energies in decibels, mean taken off",
        "SpeechBrain 1.1.2",
        _speechbrain,
    ),
    "waveform": EmbedderFrontEnd(
        "samples in ±1, of networks that compute their own features", "", _samples_in_one, True
    ),
}


@functools.lru_cache(maxsize=4)
def _kaldi(window: str, rate: int, n_bins: int) -> LogMel:
    """Kaldi's log-mel energies of samples as they are, in whatever scale."""
    return LogMel(
        sample_frequency=rate, num_mel_bins=n_bins, window_type=window, full_scale=FULL_SCALE
    )


@functools.lru_cache(maxsize=4)
def _decibel_energies(rate: int, n_bins: int) -> Frontend:
    """Mel energies of SpeechBrain: centred Hamming frames, triangles that are symmetric in Hz."""
    length = round(_FRAME_S * rate)
    corners = 700 * (10 ** (np.linspace(0, _mel(rate / 2), n_bins + 2) / 2595) - 1)
    centre, width = corners[1:-1, None], np.diff(corners)[:-1, None]
    lines = np.linspace(0, rate // 2, length // 2 + 1)
    return Frontend(
        window=make_window("hamming", length, 0.0, periodic=True),
        shift=round(_SHIFT_S * rate),
        n_fft=length,
        framing="snip",
        filters=np.maximum(0.0, 1 - np.abs(lines - centre) / width),
        columns=np.arange(n_bins),
        log=False,
    )


def _mel(frequency: float) -> float:
    return 2595 * np.log10(1 + frequency / 700)


def _centred(features: np.ndarray) -> np.ndarray:
    """Features (T, B) without their mean over the recording."""
    return features - features.mean(axis=0) if len(features) else features
