"""`fusion.formats.speakers` by its former name, which the tutorial's readers have in their scripts."""

from fusion.formats.speakers import (
    TrialSpeakers,
    linked_speakers,
    mapped_speakers,
    read_enrolments,
    read_map,
)

__all__ = ["TrialSpeakers", "linked_speakers", "mapped_speakers", "read_enrolments", "read_map"]
