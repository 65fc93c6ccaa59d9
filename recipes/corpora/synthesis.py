"""Speech-like signals from a source-filter synthesiser: generated speakers, sessions and syllables.

A glottal pulse train (Rosenberg's type C, 1971, differentiated: lip radiation included) with
jitter, shimmer, aspiration and a spectral tilt drives a cascade of five formant resonators
(Klatt, 1980, section II), whose targets move from phone to phone; fricatives and bursts are noise
through a resonator of its own. What a session adds is a channel response, a room, noise, a level
and a small shift of the voice. A speaker is a vocal-tract length, deviations of every phone's
formants from the average, bandwidths, a glottis and a manner of speaking.

Nothing here is speech, and results on it are no results on speech: it serves to run and to test
the whole chain where the truth is known.

Legend: T samples, K control frames (every 5 ms), P phones, F = 5 formants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.signal import fftconvolve, lfilter, resample_poly, sosfilt

CONTROL_S = 0.005
N_FORMANTS = 5
BANDWIDTHS = np.array([60.0, 90.0, 140.0, 220.0, 300.0])
RATES = (8000, 48000)
FRICATION_GAIN = 3.0  # against the glottal pulses' amplitude


class Phone(NamedTuple):
    """One phone of an average adult male: formants in Hz, amplitudes relative to a vowel."""

    formants: tuple[float, float, float]
    seconds: tuple[float, float]
    voicing: float = 1.0
    frication: float = 0.0
    centre: float = 3000.0
    width: float = 1500.0
    damping: float = 1.0


# Vowels: averages of Peterson and Barney (1952).
VOWELS = [
    Phone(formants, (0.09, 0.20))
    for formants in [
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410),
        (640, 1190, 2390), (730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240),
        (300, 870, 2240), (490, 1350, 1690),
    ]
]  # fmt: skip
NASALS = [
    Phone((270, 950, 2200), (0.05, 0.10), 0.45, damping=2.5),
    Phone((270, 1500, 2500), (0.05, 0.10), 0.45, damping=2.5),
]
GLIDES = [
    Phone((360, 1100, 2600), (0.05, 0.09), 0.7),
    Phone((350, 1150, 1550), (0.05, 0.09), 0.7),
    Phone((300, 700, 2200), (0.05, 0.09), 0.7),
    Phone((280, 2200, 3000), (0.05, 0.09), 0.7),
]
FRICATIVES = [
    Phone((320, 1700, 2600), (0.07, 0.14), 0.0, 0.35, 5200, 2200),
    Phone((320, 1800, 2500), (0.07, 0.14), 0.0, 0.45, 2900, 1200),
    Phone((340, 1100, 2100), (0.06, 0.12), 0.0, 0.12, 4000, 4000),
    Phone((320, 1700, 2600), (0.05, 0.10), 0.3, 0.20, 4800, 2200),
]
CLOSURE = Phone((300, 1400, 2500), (0.03, 0.07), 0.0)
BURSTS = [
    Phone((350, 850, 2200), (0.010, 0.020), 0.0, 0.40, 900, 1200),
    Phone((350, 1800, 2700), (0.010, 0.025), 0.0, 0.55, 3700, 2500),
    Phone((350, 2000, 2400), (0.015, 0.030), 0.0, 0.50, 1900, 900),
]
PAUSE = Phone((480, 1450, 2450), (0.15, 0.40), 0.0)
PHONES = [*VOWELS, *NASALS, *GLIDES, *FRICATIVES, CLOSURE, *BURSTS, PAUSE]


@dataclass(frozen=True)
class Speaker:
    """What stays the same in every recording of a generated speaker."""

    gender: str
    formants: np.ndarray  # (P, F) Hz
    frication: np.ndarray  # (P,) centre in Hz
    bandwidth: float  # factor on BANDWIDTHS
    pitch: float  # Hz
    pitch_range: float  # semitones
    open_quotient: float
    tilt: float  # pole of the source's low-pass filter
    breath: float  # aspiration relative to voicing
    jitter: float
    shimmer: float
    tempo: float  # factor on durations


@dataclass(frozen=True)
class Session:
    """What a recording session adds to a speaker."""

    pitch: float  # factor
    tract: float  # factor on all formants
    effort: float  # added to the pole of the source's low-pass filter
    channel: np.ndarray  # (6,) cosine coefficients of the log response, in dB
    band: tuple[float, float]  # Hz, half-amplitude edges
    snr_db: float
    noise_pole: float
    reverberation_s: float  # time to fall by 60 dB
    reverberant: float  # energy of the room relative to the direct sound
    level_db: float  # of full scale, RMS


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Draw a speaker; women and men are equally likely."""
    female = bool(rng.random() < 0.5)
    tract = (1.16 if female else 1.0) * np.exp(rng.normal(0, 0.045))
    average = np.array([(*phone.formants, 3400.0, 4400.0) for phone in PHONES])
    # One deviation per formant (shape of the tract) and one per phone (habits of articulation).
    shape = rng.normal(0, 0.05, N_FORMANTS)
    habits = rng.normal(0, 0.055, average.shape)
    return Speaker(
        gender="f" if female else "m",
        formants=average * tract * np.exp(shape + habits),
        frication=np.array([p.centre for p in PHONES]) * np.exp(rng.normal(0, 0.12, len(PHONES))),
        bandwidth=float(np.exp(rng.normal(0, 0.2))),
        pitch=float((205 if female else 118) * np.exp(rng.normal(0, 0.13))),
        pitch_range=float(rng.uniform(1.5, 4.0)),
        open_quotient=float(rng.uniform(0.45, 0.75)),
        tilt=float(rng.uniform(0.0, 0.45)),
        breath=float(np.exp(rng.normal(-3.2, 0.6))),
        jitter=float(rng.uniform(0.004, 0.015)),
        shimmer=float(rng.uniform(0.02, 0.08)),
        tempo=float(np.exp(rng.normal(0, 0.15))),
    )


def draw_session(rng: np.random.Generator) -> Session:
    """Draw a recording session."""
    return Session(
        pitch=float(np.exp(rng.normal(0, 0.05))),
        tract=float(np.exp(rng.normal(0, 0.008))),
        effort=float(rng.normal(0, 0.045)),
        channel=rng.normal(0, 3.0, 6) / np.arange(1, 7),
        band=(float(rng.uniform(60, 250)), float(rng.uniform(3300, 3900))),
        snr_db=float(rng.uniform(18, 38)),
        noise_pole=float(rng.uniform(0.5, 0.95)),
        reverberation_s=float(rng.uniform(0.1, 0.5)),
        reverberant=float(np.exp(rng.normal(-2.5, 0.7))),
        level_db=float(rng.uniform(-30, -18)),
    )


def synthesise(
    speaker: Speaker, session: Session, seconds: float, rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Generate one recording.

    Parameters
    ----------
    speaker : Speaker
    session : Session
    seconds : float
        Length; at least 0.5.
    rate : int
        Sampling rate in Hz, 8000 to 48000.
    rng : numpy.random.Generator
        Draws what is said, and the noise.

    Returns
    -------
    samples : ndarray (T,), float64
        Full scale is ±1.
    """
    if not RATES[0] <= rate <= RATES[1] or seconds < 0.5:
        raise ValueError(f"need 0.5 s or more at 8 to 48 kHz, got {seconds} s at {rate} Hz")
    # Pulses have steps; twice the rate keeps most of their aliases out of the band.
    factor = 2 if rate < 16000 else 1
    work = rate * factor
    n_samples = round(seconds * work)
    hop = round(CONTROL_S * work)
    phones, frames = _sentence(speaker, -(-n_samples // hop), rng)
    voiced = _source(speaker, session, phones, frames, hop, work, rng)
    speech = _vocal_tract(speaker, session, phones, frames, voiced, hop, work)
    speech += _frication(speaker, session, phones, frames, hop, work, rng)
    speech = speech[:n_samples]
    if factor > 1:
        speech = resample_poly(speech, 1, factor)
    return _record(speech[: round(seconds * rate)], session, rate, rng)


def _sentence(
    speaker: Speaker, n_frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw phones until `n_frames` control frames are full: phone indices (N,), frames (N,)."""
    index = {id(phone): i for i, phone in enumerate(PHONES)}
    sequence: list[Phone] = [PAUSE]
    lengths = [max(1, round(rng.uniform(0.05, 0.15) / CONTROL_S))]
    until_pause = int(rng.integers(4, 9))
    while sum(lengths) < n_frames:
        syllable = _syllable(rng)
        until_pause -= 1
        if until_pause == 0:
            syllable.append(PAUSE)
            until_pause = int(rng.integers(4, 9))
        for phone in syllable:
            seconds = rng.uniform(*phone.seconds) * speaker.tempo
            sequence.append(phone)
            lengths.append(max(2, round(seconds / CONTROL_S)))
    ends = np.minimum(np.cumsum(lengths), n_frames)
    return np.array([index[id(phone)] for phone in sequence]), np.diff(ends, prepend=0)


def _syllable(rng: np.random.Generator) -> list[Phone]:
    """Draw consonant(s), a vowel and perhaps a nasal or fricative."""
    kind = rng.choice(5, p=[0.28, 0.22, 0.18, 0.22, 0.10])
    if kind == 0:
        onset = [CLOSURE, BURSTS[rng.integers(len(BURSTS))]]
    else:
        family = [FRICATIVES, NASALS, GLIDES][min(int(kind), 3) - 1]
        onset = [] if kind == 4 else [family[rng.integers(len(family))]]
    vowel = VOWELS[rng.integers(len(VOWELS))]
    coda = rng.random()
    if coda < 0.2:
        return [*onset, vowel, NASALS[rng.integers(len(NASALS))]]
    if coda < 0.3:
        return [*onset, vowel, FRICATIVES[rng.integers(len(FRICATIVES))]]
    return [*onset, vowel]


def _smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """Smooth control tracks (K,) or (K, F) along time with a Hann window."""
    half = max(1, round(seconds / CONTROL_S / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    window /= window.sum()
    padded = np.pad(track.reshape(len(track), -1), ((half, half), (0, 0)), mode="edge")
    columns = [np.convolve(column, window, mode="valid") for column in padded.T]
    return np.stack(columns, axis=1).reshape(track.shape)


def _at_samples(track: np.ndarray, hop: int) -> np.ndarray:
    """Interpolate a control track (K,) linearly to K · hop samples."""
    times = np.arange(len(track) * hop) / hop
    return np.interp(times, np.arange(len(track)) + 0.5, track)


def _source(
    speaker: Speaker,
    session: Session,
    phones: np.ndarray,
    frames: np.ndarray,
    hop: int,
    rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Voice source: differentiated Rosenberg pulses and aspiration, (K · hop,)."""
    stress = np.exp(rng.normal(0, 0.2, len(phones)))
    voicing = np.array([PHONES[i].voicing for i in phones]) * stress
    amplitude = np.maximum(_at_samples(_smooth(np.repeat(voicing, frames), 0.03), hop), 0)
    accents = np.repeat(rng.normal(0, speaker.pitch_range / 2, len(phones)), frames)
    pitch = speaker.pitch * session.pitch * 2 ** (_at_samples(_smooth(accents, 0.2), hop) / 12)
    cycle = np.cumsum(pitch / rate)
    n_cycles = int(cycle[-1]) + 2
    pitch *= 1 + speaker.jitter * rng.standard_normal(n_cycles)[cycle.astype(int)]
    cycle = np.cumsum(pitch / rate)
    loudness = 1 + speaker.shimmer * rng.standard_normal(n_cycles + 64)
    amplitude *= loudness[cycle.astype(int)]
    pulses = _rosenberg_derivative(cycle % 1.0, speaker.open_quotient)
    # Aspiration is strongest while the glottis is open.
    breath = speaker.breath * rng.standard_normal(len(pulses)) * (0.3 + (pulses > 0))
    pole = np.clip(speaker.tilt + session.effort, 0.0, 0.9)
    tilted = lfilter([1 - pole], [1, -pole], pulses + 4 * breath)
    return amplitude * np.asarray(tilted)


def _rosenberg_derivative(phase: np.ndarray, open_quotient: float) -> np.ndarray:
    """Derivative by phase of Rosenberg's pulse C; opening takes two thirds of the open phase."""
    opening, closing = open_quotient * 2 / 3, open_quotient / 3
    rise = np.pi / (2 * opening) * np.sin(np.pi * phase / opening)
    fall = -np.pi / (2 * closing) * np.sin(np.pi / 2 * (phase - opening) / closing)
    return np.where(phase < opening, rise, np.where(phase < open_quotient, fall, 0.0))


def _resonators(frequency: np.ndarray, bandwidth: np.ndarray, rate: int) -> np.ndarray:
    """Second-order sections (..., 6) of Klatt's resonator (his equations 2 and 3), 0 dB at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth / rate)
    c = -(radius**2)
    b = 2 * radius * np.cos(2 * np.pi * frequency / rate)
    zero, one = np.zeros_like(b), np.ones_like(b)
    return np.stack([1 - b - c, zero, zero, one, -b, -c], axis=-1)


def _vocal_tract(
    speaker: Speaker,
    session: Session,
    phones: np.ndarray,
    frames: np.ndarray,
    source: np.ndarray,
    hop: int,
    rate: int,
) -> np.ndarray:
    """Filter the source (K · hop,) with formants that glide from phone to phone."""
    targets = np.repeat(speaker.formants[phones] * session.tract, frames, axis=0)
    formants = np.minimum(_smooth(targets, 0.07), 0.47 * rate)
    damping = np.repeat([PHONES[i].damping for i in phones], frames)
    bandwidths = _smooth(damping, 0.03)[:, None] * BANDWIDTHS * speaker.bandwidth
    sections = _resonators(formants, bandwidths, rate)
    output = np.empty_like(source)
    state = np.zeros((N_FORMANTS, 2))
    for k, sos in enumerate(sections):
        block = slice(k * hop, (k + 1) * hop)
        output[block], state = sosfilt(sos, source[block], zi=state)
    return output


def _frication(
    speaker: Speaker,
    session: Session,
    phones: np.ndarray,
    frames: np.ndarray,
    hop: int,
    rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Noise of fricatives and bursts (K · hop,), each through its own resonator."""
    output = np.zeros(int(frames.sum()) * hop)
    starts = np.concatenate([[0], np.cumsum(frames)]) * hop
    for start, end, index in zip(starts, starts[1:], phones):
        phone = PHONES[index]
        if phone.frication == 0 or end <= start:
            continue
        centre = min(speaker.frication[index] * session.tract, 0.45 * rate)
        b, c = _resonators(np.array(centre), np.array(phone.width), rate)[[4, 5]]
        noise = lfilter([1, 0, -1], [1, b, c], rng.standard_normal(end - start))
        edge = min(len(noise) // 2, round(0.01 * rate))
        ramp = np.ones(len(noise))
        ramp[:edge] = np.linspace(0, 1, edge)
        ramp[len(noise) - edge :] = np.linspace(1, 0, edge)
        output[start:end] = FRICATION_GAIN * phone.frication * ramp * noise / np.std(noise)
    return output


def _record(
    speech: np.ndarray, session: Session, rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Put speech (T,) through the session's room, channel, noise and level."""
    n = len(speech)
    room = rng.standard_normal(round(session.reverberation_s * rate))
    room *= 10 ** (-3 * np.arange(len(room)) / len(room))
    room *= np.sqrt(session.reverberant / np.sum(room**2))
    room[0] = 1.0
    speech = fftconvolve(speech, room)[:n]
    noise = np.asarray(lfilter([1.0], [1, -session.noise_pole], rng.standard_normal(n)))
    # The active level (the louder half of 20 ms blocks) so that pauses do not count.
    block = round(0.02 * rate)
    energy = np.sort(np.square(speech[: n // block * block]).reshape(-1, block).mean(axis=1))
    active = np.sqrt(energy[len(energy) // 2 :].mean()) + 1e-12
    noise *= active / np.std(noise) * 10 ** (-session.snr_db / 20)
    samples = fftconvolve(speech + noise, _channel(session, rate), mode="same")
    samples *= 10 ** (session.level_db / 20) / (np.std(samples) + 1e-12)
    # A soft limit, as telephones have; nothing clips.
    return np.tanh(samples)


def _channel(session: Session, rate: int) -> np.ndarray:
    """Linear-phase impulse response (255,) of the session's channel."""
    frequency = np.linspace(0, rate / 2, 129)
    cosines = np.cos(np.pi * np.outer(frequency / (rate / 2), np.arange(1, 7)))
    low, high = session.band
    high *= rate / 8000
    edges = 1 / (1 + (low / np.maximum(frequency, 1)) ** 4) / (1 + (frequency / high) ** 16)
    response = 10 ** (cosines @ session.channel / 20) * edges
    return np.fft.fftshift(np.fft.irfft(response))[1:] * np.hanning(255)
