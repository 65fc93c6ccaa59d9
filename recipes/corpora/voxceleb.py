"""What VoxCeleb 1 and 2 share: the tree, the official trial lists and the speakers' table."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ivector.base.errors import DataError, UsageError
from ivector.base.files import read_lines
from ivector.data import Trial
from recipes.corpora.common import Recording, find_audio
from recipes.corpora.download import download

logger = logging.getLogger("prepare")

META = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"
# Name to file and MD5 checksum of the official lists (label path path).
LISTS = {
    "O": ("veri_test.txt", "29fc7cc1c5d59f0816dc15d6e8be60f7"),
    "O-cleaned": ("veri_test2.txt", "b73110731c9223c1461fe49cb48dddfc"),
    "E": ("list_test_all.txt", "b9ecf7aa49d4b656aa927a8092844e4a"),
    "E-cleaned": ("list_test_all2.txt", "a53e059deb562ffcfc092bf5d90d9f3a"),
    "H": ("list_test_hard.txt", "21c341b6b2168eea2634df0fb4b8fff1"),
    "H-cleaned": ("list_test_hard2.txt", "857790e09d579a68eb2e339a090343c8"),
}
TRIALS_HELP = (
    "trial lists, with commas between: O, E, H, O-cleaned, E-cleaned, H-cleaned (fetched where "
    "the folder has none) or files of lines 'label path path'; the first becomes 'trials'"
)
LABELS = {"1": True, "0": False, "-1": None, "target": True, "nontarget": False}
_SPEAKER = re.compile(r"id\d{5}")


def find_recordings(root: Path, strict: bool = False) -> list[Recording]:
    """Find ``.../id10270/VIDEO/00001.wav`` below `root`; the id is ``id10270-VIDEO-00001``.

    Raises
    ------
    DataError
        None are there, or (VoxCeleb2 as published) only in a format that must be converted.
    """
    recordings = []
    for path in find_audio(root, strict):
        speaker, video = path.parts[-3:-1] if len(path.parts) > 2 else ("", "")
        if _SPEAKER.fullmatch(speaker):
            recordings.append(Recording(f"{speaker}-{video}-{path.stem}", speaker, path))
    if not recordings:
        raise DataError(f"{root}: holds no id10270/VIDEO/00001.wav (at any depth)")
    return recordings


def find_lists(
    names: str, folder: Path, out_dir: Path, name_of: Callable[[str], str] | None = None
) -> list[tuple[str, list[Trial]]]:
    """Read trial lists given by name or path; returns (name, trials) in the order given.

    Official lists are looked for in `folder` and its ``meta``, then fetched to ``out_dir/meta``;
    `name_of` gives the id of a path, by default `utterance_id`.
    """
    lists: list[tuple[str, list[Trial]]] = []
    for name in (part.strip() for part in names.split(",")):
        if name in LISTS:
            file, md5 = LISTS[name]
            near = [folder / file, folder / "meta" / file]
            path = next((p for p in near if p.is_file()), None)
            path = path or download(f"{META}/{file}", out_dir / "meta" / file, md5)
        elif Path(name).is_file():
            path, name = Path(name), Path(name).stem
        else:
            raise UsageError(
                f"--trials {name}: neither a file nor one of {', '.join(LISTS)}; give a file or "
                "a name"
            )
        if name in dict(lists):
            raise UsageError(f"--trials names {name} twice")
        lists.append((name, read_list(path, name_of or utterance_id)))
    return lists


def utterance_id(path: str) -> str:
    """Make the id ``id10270-VIDEO-00001`` of a path in an official list."""
    return "-".join(re.sub(r"\.\w+$", "", path).split("/")[-3:])


def read_list(path: Path, name: Callable[[str], str] = utterance_id) -> list[Trial]:
    """Read lines ``label id10270/VIDEO/00001.wav id10271/VIDEO/00001.wav``; repeats count once.

    Parameters
    ----------
    path : Path
    name : callable
        Gives the utterance id of a path, or raises ValueError.

    Returns
    -------
    trials : list of Trial
        In the file's order.

    Raises
    ------
    DataError
        A line that is not such, or a repeat with another label.
    """
    labels: dict[tuple[str, str], bool | None] = {}
    for number, label, *paths in _rows(path):
        try:
            one, two = map(name, paths)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: one of {' '.join(paths)} {error}") from None
        if labels.setdefault((one, two), label) != label:
            raise DataError(f"{path}: trial {' '.join(paths)} has two labels")
    if not labels:
        raise DataError(f"{path}: holds no trials")
    return [Trial(one, two, label) for (one, two), label in labels.items()]


def _rows(path: Path) -> Iterator[tuple[int, bool | None, str, str]]:
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in LABELS:
            raise DataError(f"{path}, line {number}: expected '1|0|-1 path path', got {line!r}")
        yield number, LABELS[fields[0]], fields[1], fields[2]


def single_enrolments(lists: Iterable[Sequence[Trial]]) -> dict[str, list[str]]:
    """Make the enrolment table of lists whose first column is an utterance."""
    return {trial.enrol: [trial.enrol] for trials in lists for trial in trials}


def read_genders(*folders: str | os.PathLike) -> dict[str, str]:
    """Read ``vox1_meta.csv`` and ``vox2_meta.csv`` (ID, ..., gender, ...) where they are there."""
    genders: dict[str, str] = {}
    for folder in folders:
        for path in sorted(Path(folder).glob("vox[12]_meta.csv")):
            for line in read_lines(path):
                fields = [field.strip() for field in re.split(r"[\t,]", line)]
                speaker = next((f for f in fields if _SPEAKER.fullmatch(f)), None)
                gender = next((f for f in fields if f in ("m", "f")), None)
                if speaker and gender:
                    genders[speaker] = gender
    return genders
