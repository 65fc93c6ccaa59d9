"""Kaldi's commands from recordings to features, and of their segments."""

from __future__ import annotations

import logging
from typing import Any

from ivector.base.errors import DataError, UsageError, named
from ivector.base.kaldi_cli.declared import Lack, Option, kaldi_command
from ivector.base.kaldi_cli.tally import Tally

logger = logging.getLogger("tables")

# Those that MFCC and LogMel have as parameters of the same name.
_FRAMES = (
    Option("sample-frequency", 16000.0, "Hz; that of the recordings"),
    Option("frame-length", 25.0, "of a window, milliseconds"),
    Option("frame-shift", 10.0, "from window to window, milliseconds"),
    Option("preemphasis-coefficient", 0.97, "0 for none"),
    Option("remove-dc-offset", True, "subtract the mean of each window"),
    Option("dither", 1.0, "standard deviation of noise added to the samples, 0 for none; drawn "
           "once a recording and the same in every run, where Kaldi draws for every window"),
    Option("window-type", "povey", "of the windows",
           choices=("hamming", "hanning", "povey", "rectangular", "blackman")),
    Option("blackman-coeff", 0.42, "of --window-type=blackman"),
    Option("round-to-power-of-two", True, "Fourier transforms of the next power of two"),
    Option("snip-edges", True, "whole windows alone; else a frame every shift, mirrored at ends"),
    Option("num-mel-bins", 23, "triangles on the mel scale"),
    Option("low-freq", 20.0, "Hz, where the triangles begin"),
    Option("high-freq", 0.0, "Hz, where they end; 0 or below from half the sampling rate"),
    Option("energy-floor", 0.0, "least energy of a frame"),
    Option("raw-energy", True, "energy before pre-emphasis and window"),
    Option("htk-compat", False, "energy, or √2 C0, last"),
)  # fmt: skip
_COMMAND = (
    Option("subtract-mean", False, "subtract the mean of each recording's features"),
    Option("channel", -1, "counted from 0; -1 takes the first, with a warning if there are more"),
    Option("min-duration", 0.0, "seconds below which a recording is left out"),
    Option("allow-downsample", False, "convert recordings of a higher rate, by our own filter"),
    Option("allow-upsample", False, "convert recordings of a lower rate, by our own filter"),
    Option("write-utt2dur", "", "table of durations in seconds", table="real", writes=True),
    Lack("output-format", "kaldi", "HTK's files are not written"),
    Lack("vtln-warp", "1.0", "there is no vocal-tract length normalisation, as it removes what "
         "tells speakers apart"),
    Lack("vtln-map", "", "there is no vocal-tract length normalisation"),
    Lack("vtln-low", "100", "there is no vocal-tract length normalisation"),
    Lack("vtln-high", "-500", "there is no vocal-tract length normalisation"),
    Lack("utt2spk", "", "it serves vocal-tract length normalisation alone"),
    Lack("debug-mel", "false", "the triangles are in ivector.features.frontend.mel_triangles"),
    Lack("max-feature-vectors", "-1", "it limits the memory of streams, and recordings are files"),
)  # fmt: skip
_FORM = "wav-rspecifier:wave feats-wspecifier:matrix"


@kaldi_command(
    "compute-mfcc-feats",
    "compute MFCC of recordings",
    _FORM,
    *_FRAMES,
    Option("num-ceps", 13, "coefficients of a frame, C0 or the energy among them"),
    Option("use-energy", True, "the log energy in the place of C0"),
    Option("cepstral-lifter", 22.0, "scales the coefficients; 0 for none"),
    *_COMMAND,
)
def compute_mfcc_feats(options: Any, wav: Any, feats_out: Any) -> None:
    """Write MFCC."""
    from ivector.features.extractors import MFCC

    _compute(MFCC, ("num_ceps", "use_energy", "cepstral_lifter"), options, wav, feats_out)


@kaldi_command(
    "compute-fbank-feats",
    "compute log-mel energies of recordings",
    _FORM,
    *_FRAMES,
    Option("use-energy", False, "the log energy as a column more"),
    Option("use-log-fbank", True, "logarithms; else the energies themselves"),
    Option("use-power", True, "energies; else magnitudes"),
    *_COMMAND,
)
def compute_fbank_feats(options: Any, wav: Any, feats_out: Any) -> None:
    """Write log-mel energies."""
    from ivector.features.extractors import LogMel

    _compute(LogMel, ("use_energy", "use_log_fbank", "use_power"), options, wav, feats_out)


def _compute(kind: Any, own: tuple[str, ...], options: Any, wav: Any, feats_out: Any) -> None:
    """Features of each recording by an extractor of a class."""
    from ivector.features.audio import FULL_SCALE

    names = [option.name.replace("-", "_") for option in _FRAMES]
    extractor = kind(**{name: getattr(options, name) for name in (*names, *own)},
                     full_scale=FULL_SCALE)  # fmt: skip
    extractor.fit()
    tally = Tally()
    for key, recording in wav:
        if recording.duration < options.min_duration:
            tally.miss(key, f"{recording.duration:.3f} s are below --min-duration")
            continue
        channel = _channel(key, recording, options.channel, tally)
        if channel is None:
            continue
        with named(key):
            rate = _rate(recording.info.rate, options)
            features = extractor.transform(recording.samples(channel, rate=rate))
        if not len(features):
            tally.miss(key, "shorter than a window")
            continue
        if options.subtract_mean:
            features = features - features.mean(0)
        feats_out.write(key, features)
        if options.write_utt2dur:
            options.write_utt2dur.write(key, recording.duration)
        tally.done += 1
    tally.end()


def _channel(key: str, recording: Any, channel: int, tally: Tally) -> int | None:
    """The channel to take, or None if there is no such."""
    there = recording.info.n_channels
    if channel >= there:
        tally.miss(key, f"has {there} channel(s), and --channel={channel} was asked for")
        return None
    if channel < 0 and there > 1:
        logger.warning("%s: has %d channels; the first is taken, or give --channel", key, there)
    return max(channel, 0)


def _rate(there: int, options: Any) -> int | None:
    """The rate to convert to, or None."""
    wanted = options.sample_frequency
    if there == wanted:
        return None
    higher = there > wanted
    if not (options.allow_downsample if higher else options.allow_upsample):
        allow = "--allow-downsample=true" if higher else "--allow-upsample=true"
        raise DataError(
            f"sampled at {there} Hz, and --sample-frequency={wanted:g}; give that of the "
            f"recordings, or {allow}"
        )
    return int(wanted)


@kaldi_command(
    "extract-segments",
    "cut recordings into the segments of a data directory",
    "wav-rspecifier:wave@id segments-rxfilename wav-wspecifier:wave",
    Option("min-segment-length", 0.1, "seconds up to which a segment is left out"),
    Option("max-overshoot", 0.5, "seconds by which a segment may end after its recording"),
)
def extract_segments(options: Any, wav: Any, segments: str, wav_out: Any) -> None:
    """Write the segments of ``segment recording start end [channel]`` lines as recordings."""
    from ivector.base.files import read_lines
    from ivector.kaldi.recordings import Sound

    if options.min_segment_length < 0 or options.max_overshoot < 0:
        raise UsageError("--min-segment-length and --max-overshoot are not negative")
    tally = Tally("segments")
    last: tuple[str, Any] = ("", None)
    for line in read_lines(segments):
        key, *fields = line.split() or [""]
        try:
            recording, start, end, channel = _segment(fields)
        except (ValueError, DataError):
            tally.miss(key, f"invalid line in {segments}: {line!r}")
            continue
        if recording != last[0]:
            last = recording, wav.get(recording)
        if last[1] is None:
            tally.miss(key, f"there is no recording {recording}")
            continue
        with named(key):
            span, why = _span(last[1].info, start, end, channel, options)
        if why:
            tally.miss(key, why)
            continue
        wav_out.write(key, Sound(last[1].samples(channel, *span), last[1].info.rate))
        tally.done += 1
    tally.end()


def _segment(fields: list[str]) -> tuple[str, float, float, int | None]:
    """Recording, start, end and channel of the fields behind a segment's id."""
    from ivector.data import parse_channel

    if len(fields) not in (3, 4):
        raise ValueError
    start, end = float(fields[1]), float(fields[2])
    if not 0 <= start or not (end == -1 or start < end < float("inf")):
        raise ValueError
    return fields[0], start, end, parse_channel(fields[3]) if fields[3:] else None


def _span(
    info: Any, start: float, end: float, channel: int | None, options: Any
) -> tuple[tuple[int, int], str]:
    """First sample and end of a segment, and why it is left out, as Kaldi counts them."""
    first = int(start * info.rate)
    last = info.n_samples if end == -1 else int(end * info.rate)
    if channel is None and info.n_channels > 1:
        raise DataError(
            f"its recording has {info.n_channels} channels; name one as fifth field of its line"
        )
    why = ""
    if channel is not None and channel >= info.n_channels:
        why = f"there is no channel {channel} of {info.n_channels}"
    elif first >= info.n_samples:
        why = f"begins at {start:g} s of a recording of {info.n_samples / info.rate:.3f} s"
    elif last > info.n_samples and last >= info.n_samples + int(options.max_overshoot * info.rate):
        why = f"ends at {end:g} s of a recording of {info.n_samples / info.rate:.3f} s"
    elif min(last, info.n_samples) <= first + int(options.min_segment_length * info.rate):
        why = f"is not longer than {options.min_segment_length:g} s"
    return (first, min(last, info.n_samples)), why
