"""Ids of known corpora: what they look like, and where the speaker stands in them."""

from __future__ import annotations

_VOXCELEB = r"(?:.*/)?(id\d{5})(?:[/-].*)?"
# Patterns of the ids of recordings, and of models, by the name of the rule.
RULES: dict[str, tuple[str, str]] = {
    "voxceleb": (_VOXCELEB, _VOXCELEB),  # id10270/5r0dWxy17C8/00001.wav, id10270-5r0dWxy17C8-00001
    "tiny-voxceleb": (_VOXCELEB, _VOXCELEB),
    "librispeech": (
        r"(?:.*/)?(\d+)-\d+-\d{4}(?:\.\w+)?",  # 84-121123-0000
        r"(?:(?:.*/)?(?=\d+-))?(\d+)(?:-\d+-\d{4}(?:\.\w+)?)?",  # or the speaker alone
    ),
    # Kaldi's SPEAKER-SEGMENT; NIST's own names of segments do not tell the speaker.
    "nist": (r"(\w+)-.*sre\d\d.*", r"(\w+)(?:-.*sre\d\d.*)?"),
}
