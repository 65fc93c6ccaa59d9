"""What MFCC and log-mel features share: checks of options, kinds of input, framing, dither."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, overload

import numpy as np

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller
from ivector.features.audio import FULL_SCALE
from ivector.features.frames import check_real, check_some
from ivector.features.frontend import FLOAT_EPSILON, Frontend, make_window, mel_triangles
from ivector.features.scale import check_full_scale, samples_in_16_bit, warn_of_scale
from ivector.features.stateless import Stateless

Window = str | Callable[[int], np.ndarray]

# Options that a flavour knows no equivalent of; they must stay at their defaults.
_KALDI_ONLY = ("remove_dc_offset", "raw_energy", "energy_floor", "snip_edges", "htk_compat")
_FOREIGN = {
    "psf": (*_KALDI_ONLY, "round_to_power_of_two"),
    "torchaudio": _KALDI_ONLY,
    "torchaudio-int16": _KALDI_ONLY,
}
PSF_N_FFT = 512


class Features(Stateless):
    """What both kinds of features share; sub-classes build the `Frontend`."""

    _flavours: tuple[str, ...] = ("kaldi", "psf")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Names of columns without set_output: several recordings are no table.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def fit(self, X: Any = None, y: Any = None) -> Features:
        """Check the options, and the recordings if there are any; there is nothing to learn."""
        _ = self._frontend
        if X is not None:
            for _ in self._prepared(_recordings(X)[0]):
                pass
        return self

    @overload
    def transform(self, X: np.ndarray) -> np.ndarray: ...

    @overload
    def transform(self, X: Sequence[np.ndarray]) -> list[np.ndarray]: ...

    def transform(self, X: np.ndarray | Sequence[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Compute features.

        Parameters
        ----------
        X : array_like (n_samples,), sequence of such, or array_like (n_recordings, n_samples)
            Samples of one recording, of several, or of several of one length, in the scale of
            16-bit integers or, recognised or by `full_scale`, another.

        Returns
        -------
        ndarray (n_frames, n_features), list of such or ndarray (n_recordings, n_frames, n_features)
            float32. With ``snip_edges=True`` a recording shorter than one window has no frames:
            (0, n_features).

        Raises
        ------
        DataError
            Samples that are not one-dimensional, real and finite.
        UsageError
            Options that make no sense.

        Warns
        -----
        ScaleWarning
            Samples in ±1 were recognised, and multiplied by 32768.
        DegenerateDataWarning
            A matrix of recordings that are all shorter than one window.
        """
        recordings, kind = _recordings(X)
        frontend = self._frontend
        features, n_in_one = [], 0
        for samples, in_one in self._prepared(recordings):
            features.append(self._one(samples, frontend))
            n_in_one += in_one
        if n_in_one:
            some = f"{n_in_one} of {len(features)} recordings look" if kind else "samples look"
            warn_of_scale(f"{some} like floats", "they were multiplied by 32768")
        if kind == "matrix" and not len(features[0]):
            n_recordings, n_samples = recordings.shape
            warn_caller(
                f"no features: {n_recordings} recordings of {n_samples} samples each are shorter "
                "than one window; if these are channels, transpose or choose one",
                DegenerateDataWarning,
            )
        if kind == "matrix":
            return np.stack(features)
        return features if kind else features[0]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray (n_features,) of str, dtype object
        """
        _ = self._frontend
        return np.array(self._names(), object)

    def _prepared(self, recordings: Sequence[Any]) -> Iterator[tuple[np.ndarray, bool]]:
        """Yield checked samples in the scale of 16 bits, and whether they were taken for ±1."""
        name = "recording" if len(recordings) == 1 else "recording {}"
        for number, samples in enumerate(recordings):
            yield samples_in_16_bit(samples, self.full_scale, name.format(number))

    def _one(self, samples: np.ndarray, frontend: Frontend) -> np.ndarray:
        if self.dither:
            samples = samples + np.float32(self.dither) * self._noise(samples)
        if self.flavour == "torchaudio":
            samples = samples * np.float32(1 / FULL_SCALE)
        return frontend(samples)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a recording of `n_samples`."""
        return self._frontend.n_frames(n_samples)

    @property
    def n_features(self) -> int:
        """Numbers a frame."""
        return len(self._frontend.columns)

    def _noise(self, samples: np.ndarray) -> np.ndarray:
        """Normal noise that depends on the seed and the samples alone, not on what came before."""
        seed = np.random.SeedSequence([self.random_state, zlib.crc32(samples.tobytes())])
        return np.random.default_rng(seed).standard_normal(len(samples), np.float32)

    @property
    def _frontend(self) -> Frontend:
        # As get_params gives, which takes longer than the features of a short recording.
        options = {name: value for name, value in vars(self).items() if name != "_made"}
        made_with, frontend = self.__dict__.get("_made", (None, None))
        if made_with != options:
            self._check(options)
            frontend = self._make_frontend()
            self._made = (options, frontend)
        return frontend  # type: ignore[return-value]

    def _make_frontend(self) -> Frontend:
        raise NotImplementedError

    def _names(self) -> list[str]:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Leave the tables out of pickles: they are made anew in no time."""
        state = super().__getstate__()
        state.pop("_made", None)
        return state

    def _check(self, options: dict[str, Any]) -> None:
        """Check what does not depend on the flavour, and that foreign options are untouched."""
        if self.flavour not in self._flavours:
            raise UsageError(
                f"flavour must be one of {', '.join(self._flavours)} for "
                f"{type(self).__name__}, got {self.flavour!r}"
            )
        check_full_scale(self.full_scale)
        for name, (low, high) in _RANGES.items():
            if name in options and (name, options[name]) != ("n_fft", None):
                _check_number(name, options[name], low, high)
        for name in ("num_mel_bins", "num_ceps", "n_fft", "random_state"):
            if options.get(name) is not None and not isinstance(options[name], Integral):
                raise UsageError(f"{name} must be a whole number, got {options[name]!r}")
        defaults = inspect.signature(type(self)).parameters
        for name, value in options.items():
            # `in` would compare an array with True; 0 and 1 are as good as False and True.
            yes_or_no = name in defaults and isinstance(defaults[name].default, bool)
            if yes_or_no and not (isinstance(value, (bool, np.bool_, int)) and value in (0, 1)):
                raise UsageError(f"{name} must be true or false, got {value!r}")
        for name in (*_FOREIGN.get(self.flavour, ()), *self._foreign()):
            if name in options and options[name] != defaults[name].default:
                raise UsageError(
                    f"{name} has no meaning for flavour {self.flavour!r}; leave it out"
                )

    def _foreign(self) -> tuple[str, ...]:
        return ()

    def _limits(self) -> tuple[float, float]:
        """Lowest and highest frequency in Hz."""
        nyquist = self.sample_frequency / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not 0 <= self.low_freq < high <= nyquist:
            raise UsageError(
                f"low_freq={self.low_freq:g} and high_freq={self.high_freq:g} make the band "
                f"{self.low_freq:g}–{high:g} Hz, which must lie within 0–{nyquist:g} Hz, half of "
                f"sample_frequency={self.sample_frequency:g}"
            )
        return self.low_freq, high

    def _sizes(self) -> tuple[int, int, int]:
        """Window length, shift and length of the Fourier transform, in samples."""
        length = int(self.sample_frequency * 0.001 * self.frame_length)
        shift = int(self.sample_frequency * 0.001 * self.frame_shift)
        if length < 2 or shift < 1:
            raise UsageError(
                f"frame_length={self.frame_length:g} and frame_shift={self.frame_shift:g} ms are "
                f"{length} and {shift} samples at {self.sample_frequency:g} Hz; take longer ones"
            )
        n_fft = self.n_fft or (_round_up(length) if self.round_to_power_of_two else length)
        if n_fft < length:
            raise UsageError(
                f"n_fft={n_fft} is shorter than the window of {length} samples; take "
                f"`n_fft`={_round_up(length)}"
            )
        return length, shift, n_fft

    def _kaldi_frontend(self, **kwargs: Any) -> Frontend:
        """Framing, window and triangles of Kaldi."""
        length, shift, n_fft = self._sizes()
        low, high = self._limits()
        filters = mel_triangles(self.num_mel_bins, n_fft, self.sample_frequency, low, high)
        if self.htk_compat and low > 0:
            filters[0, 0] = 0.0
        energy = ("raw" if self.raw_energy else "windowed") if self.use_energy else "none"
        return Frontend(
            window=make_window(self.window_type, length, self.blackman_coeff, periodic=False),
            shift=shift,
            n_fft=n_fft,
            framing="snip" if self.snip_edges else "mirror",
            filters=filters,
            remove_dc=bool(self.remove_dc_offset),
            preemphasis=self.preemphasis_coefficient,
            energy=energy,
            energy_floor=max(self.energy_floor, FLOAT_EPSILON),
            kaldi_rounding=True,
            **kwargs,
        )

    def _psf_frontend(self, **kwargs: Any) -> Frontend:
        from ivector.features.psf import psf_frontend

        low, high = self._limits()
        return psf_frontend(
            self.sample_frequency, self.frame_length / 1000, self.frame_shift / 1000,
            self.num_mel_bins, self.n_fft or PSF_N_FFT, low, high, self.preemphasis_coefficient,
            _WindowOf(self.window_type, self.blackman_coeff),
            energy=bool(self.use_energy), **kwargs,
        )  # fmt: skip


def _recordings(X: Any) -> tuple[Any, str]:
    """The recordings in `X`, and whether these are one (""), a "list" or the rows of a "matrix".

    Nested lists of one length are a matrix, as NumPy takes them.
    """
    if not isinstance(X, (list, tuple)):
        array = X if hasattr(X, "toarray") else np.asarray(X)
        objects = array.dtype.kind == "O" and array.ndim == 1
        X = list(array) if objects else array
    if isinstance(X, (list, tuple)):
        if not len(X) or np.ndim(X[0]) == 0:
            return [X], ""
        if not (isinstance(X[0], (list, tuple)) and len({len(row) for row in X}) == 1):
            return X, "list"
    matrix = check_real(X, "recordings")
    if matrix.ndim < 2:
        return [matrix], ""
    if matrix.ndim > 2:
        raise DataError(
            f"recordings have shape {matrix.shape}, expected (n_samples,) or "
            "(n_recordings, n_samples)"
        )
    check_some(matrix, "recordings")
    return matrix, "matrix"


class _WindowOf:
    """A window type as the function of a length; equal ones compare equal, for the cache."""

    def __init__(self, kind: Window, blackman_coeff: float):
        self.key = (kind, blackman_coeff)

    def __call__(self, length: int) -> np.ndarray:
        return make_window(*self.key[:1], length, self.key[1], periodic=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _WindowOf) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


_INFINITY = float("inf")
_RANGES = {
    "sample_frequency": (1.0, _INFINITY),
    "frame_length": (0.0, _INFINITY),
    "frame_shift": (0.0, _INFINITY),
    "num_mel_bins": (3, _INFINITY),
    "num_ceps": (1, _INFINITY),
    "low_freq": (0.0, _INFINITY),
    "high_freq": (-_INFINITY, _INFINITY),
    "preemphasis_coefficient": (0.0, 1.0),
    "blackman_coeff": (0.0, 1.0),
    "energy_floor": (0.0, _INFINITY),
    "cepstral_lifter": (0.0, _INFINITY),
    "dither": (0.0, _INFINITY),
    "n_fft": (2, _INFINITY),
    "random_state": (0, _INFINITY),
}


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise UsageError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")


def _round_up(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()
