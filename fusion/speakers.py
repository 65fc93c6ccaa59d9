"""The former name of `fusion.formats.speakers`, which readers of the tutorial have in scripts."""

from fusion.formats.speakers import (
    TrialSpeakers,
    linked_speakers,
    mapped_speakers,
    read_enrolments,
    read_map,
)

__all__ = ["TrialSpeakers", "linked_speakers", "mapped_speakers", "read_enrolments", "read_map"]
