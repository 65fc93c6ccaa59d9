"""MFCC and log-mel features of a recording, with Kaldi's options and numbers.

Follows Kaldi's ``compute-mfcc-feats`` (``feat/feature-mfcc.cc``) and ``compute-fbank-feats``
(``feat/feature-fbank.cc``); option names and defaults are Kaldi's, except that there is no dither
unless asked for, so that features repeat. The arithmetic is in `ivector.features.frontend`.

Samples are in the scale of 16-bit integers, as `ivector.features.audio.read_audio` gives them.
"""

from __future__ import annotations

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.base import Features, Window
from ivector.features.frontend import Frontend, cosine_transform, make_window, mel_triangles

TORCHAUDIO_OFFSET = 1e-6


class MFCC(Features):
    """Mel-frequency cepstral coefficients.

    Parameters
    ----------
    sample_frequency : float
        Hz; that of the samples, which is not converted here.
    frame_length, frame_shift : float
        Milliseconds.
    num_mel_bins, num_ceps : int
        ``num_ceps`` counts C0 or the energy that replaces it, and is at most ``num_mel_bins``.
    low_freq, high_freq : float
        Hz; a high frequency of 0 or below counts from half the sampling rate.
    preemphasis_coefficient : float
        0 for none.
    window_type : {"povey", "hamming", "hanning", "rectangular", "blackman"} or callable
        A callable gives the window of a length.
    blackman_coeff : float
    use_energy : bool
        The log energy takes the place of C0.
    raw_energy : bool
        The energy is that before pre-emphasis and window.
    energy_floor : float
        Least energy (not its logarithm); 0 for none.
    cepstral_lifter : float
        0 for none.
    snip_edges : bool
        Only whole windows; otherwise a frame every shift, the signal mirrored at its ends.
    dither : float
        Standard deviation of noise added to the samples, against logarithms of digital silence.
        Kaldi's default is 1 and draws for every frame anew; here it is added to the signal once
        and depends on `random_state` and the samples alone, not on other recordings.
    remove_dc_offset : bool
        Subtract the mean of each frame.
    round_to_power_of_two : bool
        Whether the Fourier transform is longer than the window, the next power of two. Lengths
        that are none are many times slower.
    htk_compat : bool
        The energy or sqrt(2) C0 comes last.
    n_fft : int, optional
        Length of the Fourier transform where `round_to_power_of_two` should not decide it; for
        flavour "psf" 512 by default, as there.
    flavour : {"kaldi", "psf"}
        "psf" gives the numbers of python_speech_features (`ivector.features.psf`) for these
        options:
        pre-emphasis over the whole signal, zeros after it, triangles between whole spectral
        lines, energy from the power spectrum. Its own defaults would be ``num_mel_bins=26,
        low_freq=0, window_type="rectangular"``.
    random_state : int
        Seed of the dither.
    full_scale : float, optional
        The sample that stands for full scale: 32768 for 16-bit integers, 1 for floats in ±1. By
        default integers are the former, and floats the latter where none is beyond 2 and they are
        not all whole numbers, with a `ScaleWarning`. Silence of a higher resolution may look
        like ±1: where samples are from `ivector.read_audio`, say 32768.

    Notes
    -----
    `n_features`, the number of columns, is ``num_ceps``. A recording of any length is taken, so
    that there is no `n_features_in_`, and several make no table, so that there is no
    `set_output`.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import MFCC
    >>> samples = 1000 * np.sin(np.arange(8000, dtype=np.float32))
    >>> MFCC(sample_frequency=8000, num_ceps=20).transform(samples).shape
    (98, 20)

    Several recordings are a list, or a matrix where they are of one length:

    >>> [len(frames) for frames in MFCC().transform([np.zeros(16000), np.zeros(8000)])]
    [98, 48]
    >>> MFCC().transform(np.zeros((2, 16000))).shape
    (2, 98, 13)
    """

    def __init__(
        self,
        sample_frequency: float = 16000,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        num_mel_bins: int = 23,
        num_ceps: int = 13,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        preemphasis_coefficient: float = 0.97,
        window_type: Window = "povey",
        blackman_coeff: float = 0.42,
        use_energy: bool = True,
        raw_energy: bool = True,
        energy_floor: float = 0.0,
        cepstral_lifter: float = 22.0,
        snip_edges: bool = True,
        dither: float = 0.0,
        remove_dc_offset: bool = True,
        round_to_power_of_two: bool = True,
        htk_compat: bool = False,
        n_fft: int | None = None,
        flavour: str = "kaldi",
        random_state: int = 0,
        full_scale: float | None = None,
    ):
        self.sample_frequency = sample_frequency
        self.frame_length = frame_length
        self.frame_shift = frame_shift
        self.num_mel_bins = num_mel_bins
        self.num_ceps = num_ceps
        self.low_freq = low_freq
        self.high_freq = high_freq
        self.preemphasis_coefficient = preemphasis_coefficient
        self.window_type = window_type
        self.blackman_coeff = blackman_coeff
        self.use_energy = use_energy
        self.raw_energy = raw_energy
        self.energy_floor = energy_floor
        self.cepstral_lifter = cepstral_lifter
        self.snip_edges = snip_edges
        self.dither = dither
        self.remove_dc_offset = remove_dc_offset
        self.round_to_power_of_two = round_to_power_of_two
        self.htk_compat = htk_compat
        self.n_fft = n_fft
        self.flavour = flavour
        self.random_state = random_state
        self.full_scale = full_scale

    def _names(self) -> list[str]:
        """The energy or C0, then C1, …; the former last with `htk_compat`."""
        first = "energy" if self.use_energy else "c0"
        rest = [f"c{number}" for number in range(1, self.num_ceps)]
        return [*rest, first] if self.htk_compat else [first, *rest]

    def _make_frontend(self) -> Frontend:
        if self.num_ceps > self.num_mel_bins:
            raise UsageError(
                f"num_ceps={self.num_ceps} is more than num_mel_bins={self.num_mel_bins}; "
                "take fewer cepstra or more bins"
            )
        if self.flavour == "psf":
            return self._psf_frontend(n_cepstra=self.num_ceps, lifter=self.cepstral_lifter)
        dct = cosine_transform(self.num_ceps, self.num_mel_bins, self.cepstral_lifter)
        columns = np.arange(self.num_ceps)
        if self.htk_compat:  # C0 last
            columns = (columns - 1) % self.num_ceps
            if not self.use_energy:
                dct[0] *= np.sqrt(2.0)
        if self.use_energy:  # in the place of C0, and the last row of the frontend
            dct, columns = dct[1:], np.roll(columns, -1)
        return self._kaldi_frontend(dct=dct, columns=columns)


class LogMel(Features):
    """Log mel energies, Kaldi's "fbank".

    Parameters
    ----------
    sample_frequency, frame_length, frame_shift, num_mel_bins, low_freq, high_freq, \
preemphasis_coefficient, window_type, blackman_coeff, raw_energy, energy_floor, snip_edges, \
dither, remove_dc_offset, round_to_power_of_two, htk_compat, n_fft, random_state, full_scale
        As for `MFCC`.
    use_energy : bool
        An additional first column (last with ``htk_compat``), the log energy.
    use_log_fbank : bool
        Otherwise the mel energies without logarithm.
    use_power : bool
        Otherwise the triangles weight magnitudes.
    flavour : {"kaldi", "psf", "torchaudio", "torchaudio-int16"}
        "psf" is the ``logfbank`` of python_speech_features. "torchaudio" is
        ``log(MelSpectrogram(samples / 32768) + 1e-6)``: frames centred on multiples of the
        shift, the signal reflected at its ends, periodic windows, triangles straight in Hz;
        `preemphasis_coefficient` then acts on the whole signal. "torchaudio-int16" is
        ``log(MelSpectrogram(samples) + 1e-6)`` of samples in the scale of 16-bit integers.

    Notes
    -----
    `ivector.features.store.PRESETS` holds the options of the VoxSRC 2020 pipeline and of
    voxceleb_trainer (``n_fft=512``, 25 ms window, 10 ms shift, 0–8 kHz, ``log(x + 1e-6)``).

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import LogMel
    >>> tone = 1000 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> log_mel = LogMel(num_mel_bins=40)
    >>> features = log_mel.transform(tone)
    >>> features.shape
    (98, 40)
    >>> str(log_mel.get_feature_names_out()[features.mean(axis=0).argmax()])
    'mel13'
    """

    _flavours = ("kaldi", "psf", "torchaudio", "torchaudio-int16")

    def __init__(
        self,
        sample_frequency: float = 16000,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        num_mel_bins: int = 23,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        preemphasis_coefficient: float = 0.97,
        window_type: Window = "povey",
        blackman_coeff: float = 0.42,
        use_energy: bool = False,
        raw_energy: bool = True,
        energy_floor: float = 0.0,
        snip_edges: bool = True,
        dither: float = 0.0,
        remove_dc_offset: bool = True,
        round_to_power_of_two: bool = True,
        htk_compat: bool = False,
        use_log_fbank: bool = True,
        use_power: bool = True,
        n_fft: int | None = None,
        flavour: str = "kaldi",
        random_state: int = 0,
        full_scale: float | None = None,
    ):
        self.sample_frequency = sample_frequency
        self.frame_length = frame_length
        self.frame_shift = frame_shift
        self.num_mel_bins = num_mel_bins
        self.low_freq = low_freq
        self.high_freq = high_freq
        self.preemphasis_coefficient = preemphasis_coefficient
        self.window_type = window_type
        self.blackman_coeff = blackman_coeff
        self.use_energy = use_energy
        self.raw_energy = raw_energy
        self.energy_floor = energy_floor
        self.snip_edges = snip_edges
        self.dither = dither
        self.remove_dc_offset = remove_dc_offset
        self.round_to_power_of_two = round_to_power_of_two
        self.htk_compat = htk_compat
        self.use_log_fbank = use_log_fbank
        self.use_power = use_power
        self.n_fft = n_fft
        self.flavour = flavour
        self.random_state = random_state
        self.full_scale = full_scale

    def _foreign(self) -> tuple[str, ...]:
        if self.flavour == "psf":
            return ("use_energy", "use_power")
        return ("use_energy",) if self.flavour.startswith("torchaudio") else ()

    def _names(self) -> list[str]:
        mels = [f"mel{number}" for number in range(self.num_mel_bins)]
        energy = ["energy"] if self.use_energy else []
        return [*mels, *energy] if self.htk_compat else [*energy, *mels]

    def _make_frontend(self) -> Frontend:
        if self.flavour == "psf":
            return self._psf_frontend(log=bool(self.use_log_fbank))
        if self.flavour.startswith("torchaudio"):
            return self._torchaudio_frontend()
        columns = np.arange(self.num_mel_bins)
        if self.use_energy:
            n = self.num_mel_bins
            columns = np.append(columns, n) if self.htk_compat else np.append(columns + 1, 0)
        return self._kaldi_frontend(
            columns=columns, magnitude=not self.use_power, log=bool(self.use_log_fbank)
        )

    def _torchaudio_frontend(self) -> Frontend:
        """``torchaudio.transforms.MelSpectrogram`` with its defaults, then a logarithm."""
        length, shift, n_fft = self._sizes()
        low, high = self._limits()
        return Frontend(
            window=make_window(self.window_type, length, self.blackman_coeff, periodic=True),
            shift=shift,
            n_fft=n_fft,
            framing="centre",
            filters=mel_triangles(
                self.num_mel_bins, n_fft, self.sample_frequency, low, high, linear_in="hz"
            ),
            columns=np.arange(self.num_mel_bins),
            signal_preemphasis=self.preemphasis_coefficient,
            magnitude=not self.use_power,
            log=bool(self.use_log_fbank),
            floor=0.0,
            offset=TORCHAUDIO_OFFSET,
        )
