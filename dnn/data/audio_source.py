"""Features computed from audio when they are asked for, of the part that is asked for.

A crop is cut from the recording a few frames wider, turned into features, and trimmed: it equals
the same frames of the features of the whole recording, up to rounding. Before that the sound may
be augmented (`dnn.data.augment`).

T  frames
D  features
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dnn.data.sources import Source
from dnn.formats.mapped import MappedFiles
from dnn.formats.shards import Member, OpenMember
from ivector.base.errors import DataError, UsageError, named
from ivector.data import Part, Row
from ivector.features.audio import FULL_SCALE, MAX_OVERSHOOT_S, audio_info, read_audio

Sound = str | os.PathLike | Member
Recording = Row
# Frames that a length promised by resampling may be too many.
SLACK_FRAMES = 2


class AudioSource(Source):
    """Recordings, or segments of them, as features.

    Parameters
    ----------
    recordings : iterable of (utterance, file, start, end[, channel])
        As `ivector.data.DataDir.recordings` gives them: start and end in seconds or None. A file
        may be a member of a tar shard (`dnn.formats.shards`).
    extractor : object
        `ivector.features.extractors.MFCC`, `LogMel` or `dnn.data.spectrogram.Spectrogram`;
        recordings are resampled to its ``sample_frequency``.
    channel : int or "mean", optional
        Needed where recordings have several and their rows name none.
    speeds : sequence of float
        Speed perturbation (T. Ko et al., Interspeech 2015): each recording stands there once for
        every factor, pitch and tempo changed by it; `expand_labels` numbers the speakers. Ids are
        Kaldi's, ``sp0.9-utt``.
    augment : callable, optional
        Samples (n_samples,) and a generator to samples, for `crop` alone; see `dnn.data.augment`.

    Raises
    ------
    DataError
        A recording is missing or not audio; its header is read here.
    """

    def __init__(
        self,
        recordings: Iterable[Recording],
        extractor: Any,
        *,
        channel: int | str | None = None,
        speeds: Sequence[float] = (1.0,),
        augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    ):
        if hasattr(extractor, "full_scale"):
            # The scale of `read_audio`: a silent crop is not to be taken for samples in ±1.
            extractor = copy.copy(extractor).set_params(full_scale=FULL_SCALE)
        self.extractor = extractor
        self.rate = int(extractor.sample_frequency)
        self.channel = channel
        self.speeds = [float(speed) for speed in speeds]
        if not self.speeds or min(self.speeds) < 0.5 or max(self.speeds) > 2:
            raise UsageError(f"speeds={speeds}: one or more factors from 0.5 to 2 are needed")
        self.augment = augment
        self.draws = augment is not None
        self.n_features = int(extractor.n_features)
        self.recordings = [
            part
            if isinstance(part.file, Member)
            else part._replace(file=os.path.abspath(part.file))
            for part in (Part(*row) for row in recordings)
        ]
        if not self.recordings:
            raise DataError("no recordings were given")
        members = (part.file.shard for part in self.recordings if isinstance(part.file, Member))
        self._shards = MappedFiles(list(dict.fromkeys(members)))
        self._samples = np.array([self._count(part) for part in self.recordings], np.int64)
        self.ids = [
            utt if speed == 1 else f"sp{speed:g}-{utt}"
            for speed in self.speeds
            for utt, *_ in self.recordings
        ]
        self.lengths = np.array(
            [
                self.extractor.n_frames(math.ceil(count / Fraction(speed).limit_denominator(100)))
                for speed in self.speeds
                for count in self._samples
            ],
            np.int64,
        )

    def expand_labels(
        self, labels: Sequence[int] | np.ndarray, new_speakers: bool = True
    ) -> np.ndarray:
        """Labels of all speeds from those of the recordings.

        Parameters
        ----------
        labels : array-like of int (n_recordings,)
        new_speakers : bool
            A speaker at another speed is another speaker, as in Kaldi's recipes; otherwise the
            same.

        Returns
        -------
        ndarray (n_utterances,), int64
        """
        labels = np.asarray(labels, np.int64)
        step = int(labels.max()) + 1 if new_speakers else 0
        return np.concatenate([labels + step * place for place in self._speaker_order()])

    def _speaker_order(self) -> list[int]:
        """Which block of speaker numbers each speed has: the original speed the first."""
        order = sorted(range(len(self.speeds)), key=lambda i: (self.speeds[i] != 1, i))
        return [order.index(i) for i in range(len(self.speeds))]

    def _count(self, recording: Part) -> int:
        """Samples of a recording at the extractor's rate, from its header."""
        utt, file, start, end, channel = recording
        with named(utt):
            sound = audio_info(self._open(file))
        if (channel or 0) >= sound.n_channels:
            raise DataError(
                f"{utt}: {_name(file)}: has no channel {channel}, only {sound.n_channels}"
            )
        seconds = sound.n_samples / sound.rate
        begin = start or 0.0
        if begin >= seconds or (end is not None and end > seconds + MAX_OVERSHOOT_S):
            raise DataError(
                f"{utt}: {_name(file)}: segment from {begin} s to {end} s is outside the recording "
                f"of {seconds:.3f} s"
            )
        first = round(begin * sound.rate)
        last = sound.n_samples if end is None else min(round(end * sound.rate), sound.n_samples)
        return math.ceil((last - first) * self.rate / sound.rate)

    def _open(self, file: Sound) -> Any:
        return OpenMember(file, self._shards) if isinstance(file, Member) else file

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        return self._features(index, start, stop, None)

    def crop(
        self, index: int, start: int, n_frames: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """As `Source.crop`: the sound is augmented first."""
        return self._features(index, start, start + n_frames, rng)

    def _features(
        self, index: int, start: int, stop: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """Features of frames `start` up to `stop`, from samples of a few frames more."""
        which, number = divmod(index, len(self.recordings))
        speed = Fraction(self.speeds[which]).limit_denominator(100)
        shift = self.rate * self.extractor.frame_shift / 1000
        around = math.ceil(self.extractor.frame_length / self.extractor.frame_shift)
        before = min(around, start)
        first = round((start - before) * shift)
        augment = self.augment if rng is not None else None
        wanted = (stop - start + before + 2 * around) * shift * getattr(augment, "stretch", 1.0)
        samples = self._samples_of(number, first, first + math.ceil(wanted), speed)
        if augment is not None and rng is not None:
            samples = augment(samples, rng)
        features = self.extractor.transform(samples)[before : before + stop - start]
        missing = stop - start - len(features)
        if missing > SLACK_FRAMES and augment is None:
            raise DataError(
                f"{self.ids[index]}: has {missing} frames fewer than its header promised; "
                "fetch the recording again"
            )
        if not missing:
            return features
        if not len(features):
            raise DataError(f"{self.ids[index]}: nothing was left of {stop - start} frames")
        return features[np.arange(stop - start) % len(features)]

    def _samples_of(self, number: int, first: int, last: int, speed: Fraction) -> np.ndarray:
        """Samples `first` up to `last` (at most) of a recording at a speed."""
        utt, file, start, _, channel = self.recordings[number]
        begin = math.floor(first * speed)
        end = min(math.ceil(last * speed), int(self._samples[number]))
        offset = start or 0.0
        whole = begin == 0 and start is None and end == self._samples[number]
        try:
            samples, _ = read_audio(
                self._open(file),
                self.rate,
                self.channel if channel is None else channel,
                None if whole else offset + begin / self.rate,
                None if whole else offset + end / self.rate,
            )
        except DataError as error:
            raise DataError(f"{utt}: {error}") from error
        return samples if speed == 1 else change_speed(samples, speed)


def change_speed(samples: np.ndarray, speed: Fraction | float) -> np.ndarray:
    """Samples (n_samples,) played `speed` times as fast: (ceil(n_samples / speed),)."""
    from ivector.features.audio import resample_audio

    ratio = Fraction(speed).limit_denominator(100)
    return resample_audio(samples, ratio.numerator, ratio.denominator)


def _name(file: Sound) -> str:
    return f"{file.shard}: {file.name}" if isinstance(file, Member) else os.fspath(file)
