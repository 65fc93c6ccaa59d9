"""Miniature corpora in the layouts of the real ones: ``python -m recipes.miniature NAME OUT``.

So that a recipe can be checked from end to end, offline, before it is pointed at the real set. The
recordings are generated (`recipes.corpora.synthesis`); the folders, names, formats and lists are
those of

librispeech     ``LibriSpeech/SET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTT.flac`` of the sets
                train-clean-100 and test-clean, ``SPEAKERS.TXT``, and Deep Speaker's table
                ``librispeech.csv``
voxceleb        ``vox2/dev/wav/idXXXXX/VIDEO/NNNNN.wav`` to train on, ``vox1/wav/...`` to test, with
                the trial list ``vox1/veri_test2.txt``
voxsrc_features the same as the VoxSRC 2020 pipeline stored it: ``vox2_train_feats`` and
                ``vox1_test_feats/SPEAKER/VIDEO/UTT.npy`` of 40 log-mel energies, (1, 40, n_frames),
                float32 cut to 202 frames and float16 whole, and ``vox2_no_cuda.txt``,
                ``vox1_no_cuda_utterances.txt``, ``vox1_no_cuda.txt``
tiny_voxceleb   ``shards/{train,val,dev,eval}/shard-NNNNNN.tar`` (`dnn.formats.shards`),
                ``tiny_meta.csv`` and the trial lists ``val_trials.txt``, ``dev_trials.txt``,
                ``eval_trials_no_gt.txt``

The speakers that are tested are not trained on, except in tiny-voxceleb's ``val``, as in the
original. Results on generated recordings are no results on speech.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.cli import SEED, Parser, add_parallel_options, number, run, whole
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write, write_text
from ivector.base.foreign.boundary import read_json
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from recipes.commands import COMMANDS
from recipes.corpora.synthetic import stream

RATE = 16000
MARK = "miniature.json"
NONTARGETS = 4  # for each target trial
CUT = 202  # frames that the VoxSRC pipeline kept of an utterance to train on
FILES_A_SHARD = 100  # as few, lest all fit into one
LIBRISPEECH_HEADER = ";ID  |SEX| SUBSET           |MINUTES| NAME\n"


class Voice(NamedTuple):
    """A generated speaker's recordings: files, and the session that each belongs to."""

    seed: int
    speaker: int
    seconds: tuple[float, float]
    files: tuple[tuple[str, int], ...]


class Sizes(NamedTuple):
    """How much of a corpus is made."""

    train: int
    test: int
    sessions: int
    utterances: int
    seconds: tuple[float, float]
    seed: int


def make_librispeech(out: Path, sizes: Sizes, nj: int = 1) -> None:
    """Write a LibriSpeech tree; a session is a chapter."""
    from dnn.formats.librispeech import read_tree, write_table

    sets = ["train-clean-100"] * sizes.train + ["test-clean"] * sizes.test
    voices = []
    for i, dataset in enumerate(sets):
        speaker = str(1001 + 7 * i)
        files = []
        for session in range(sizes.sessions):
            chapter = str(120000 + 11 * i + session)
            folder = out / "LibriSpeech" / dataset / speaker / chapter
            names = (f"{speaker}-{chapter}-{u:04d}.flac" for u in range(sizes.utterances))
            files += [(str(folder / name), session) for name in names]
        voices.append(Voice(sizes.seed, i, sizes.seconds, tuple(files)))
    genders = _generate(voices, nj)
    rows = [
        f"{1001 + 7 * i:<5}| {gender.upper()} | {dataset:<17}| 0.10  | Generated {i}\n"
        for i, (gender, dataset) in enumerate(zip(genders, sets))
    ]
    write_text(out / "LibriSpeech" / "SPEAKERS.TXT", LIBRISPEECH_HEADER + "".join(rows))
    tree = read_tree(out / "LibriSpeech")
    relative = [u._replace(path=Path(u.path).relative_to(out).as_posix()) for u in tree]
    write_table(out / "librispeech.csv", relative)


def make_voxceleb(out: Path, sizes: Sizes, nj: int = 1) -> None:
    """Write VoxCeleb2's training part, VoxCeleb1's test part, and a trial list."""
    train = {f"id{12 + 9 * i:05d}": i for i in range(sizes.train)}
    test = {f"id{10270 + i}": sizes.train + i for i in range(sizes.test)}
    roots = {"vox2": (out / "vox2" / "dev" / "wav", train), "vox1": (out / "vox1" / "wav", test)}
    for name, (root, speakers) in roots.items():
        utts = _utterances(speakers, sizes)
        voices = _voices(utts, speakers, root, sizes)
        genders = dict(zip(speakers, _generate(voices, nj)))
        rows = [f"{s}\tGenerated\t{genders[s]}\tdev\n" for s in speakers]
        header = "VoxCeleb ID\tVGGFace ID\tGender\tSet\n"
        write_text(out / name / f"{name}_meta.csv", header + "".join(rows))
    trials = _trials(_utterances(test, sizes), sizes.seed)
    lines = [f"{int(target)} {one}.wav {two}.wav\n" for one, two, target in trials]
    write_text(out / "vox1" / "veri_test2.txt", "".join(lines))


def make_voxsrc_features(out: Path, sizes: Sizes, nj: int = 1) -> None:
    """Write the trees of the published features, and their lists."""
    loose = out / ".loose"
    make_voxceleb(loose, sizes, nj)
    parts = {
        "vox2_train_feats": (loose / "vox2/dev/wav", "vox2_no_cuda"),
        "vox1_test_feats": (loose / "vox1/wav", "vox1_no_cuda_utterances"),
    }
    for tree, (root, file) in parts.items():
        names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.wav"))]
        for name in progress(names, len(names), "log-mel energies", "files"):
            _write_features(out / tree / f"{name[:-4]}.npy", root / name, "train" in tree)
        lines = [f"{name.split('/')[0]} {name}\n" for name in names]
        write_text(out / f"{file}.txt", "".join(lines))
    shutil.copyfile(loose / "vox1" / "veri_test2.txt", out / "vox1_no_cuda.txt")
    shutil.rmtree(loose)


def _write_features(path: Path, recording: Path, train: bool) -> None:
    """Log-mel energies (1, 40, n_frames) of a recording, numbers and layout the pipeline's."""
    from ivector.features.audio import read_audio
    from ivector.features.extractors import LogMel
    from ivector.features.store.reader import PRESETS

    samples, _ = read_audio(recording, sample_rate=RATE)
    features = LogMel(**PRESETS["voxsrc2020"]).transform(samples).T[np.newaxis]
    if train:  # frame by frame in the file
        stored = np.array(features[..., :CUT], np.float32, order="F")
    else:
        stored = np.array(features, np.float16, order="C")
    with atomic_write(path) as file:
        np.save(file, stored)


def make_tiny_voxceleb(out: Path, sizes: Sizes, nj: int = 1) -> None:
    """Write the shards and the lists of the challenge."""
    from dnn.formats.shards import write_shards

    n_eval = max(2, sizes.test // 2)
    groups = (("train", sizes.train), ("dev", sizes.test), ("eval", n_eval))
    numbers = iter(range(sizes.train + sizes.test + n_eval))
    speakers = {name: {f"id{10001 + n}": n for n in itertools.islice(numbers, count)}
                for name, count in groups}  # fmt: skip
    loose = out / ".loose"
    meta = ["id,gender,nationality,set,idx\n"]
    utts = {name: _utterances(speakers[name], sizes) for name in speakers}
    for name, mine in speakers.items():
        genders = _generate(_voices(utts[name], mine, loose, sizes), nj)
        # The classes are those of the training speakers; others have none.
        rows = enumerate(zip(mine, genders))
        meta += [f"{s},{g},Nowhere,{name},{i if name == 'train' else ''}\n" for i, (s, g) in rows]
    # Every speaker's last recording validates.
    last = {max(u for u in utts["train"] if u.startswith(s)) for s in speakers["train"]}
    parts = {
        "train": [u for u in utts["train"] if u not in last],
        "val": sorted(last | set(_first_of_each(utts["train"]))),
        "dev": utts["dev"],
    }
    parts["train"] = [u for u in parts["train"] if u not in parts["val"]]
    # Opaque names stand for the utterances that are evaluated without truth.
    opaque = {u: hashlib.md5(f"{sizes.seed} {u}".encode()).hexdigest() for u in utts["eval"]}
    for name, chosen in {**parts, "eval": utts["eval"]}.items():
        files = {opaque.get(u, u): loose / f"{u}.wav" for u in _shuffled(chosen, sizes.seed)}
        classes = {s: i for i, s in enumerate(speakers["train"])}
        write_shards(out / "shards" / name, files, per_shard=FILES_A_SHARD, classes=classes)
        listed = [(opaque.get(a, a), opaque.get(b, b), -1 if name == "eval" else int(target))
                for a, b, target in _trials(chosen, sizes.seed)]  # fmt: skip
        if name != "train":
            file = f"{name}_trials{'_no_gt' * (name == 'eval')}.txt"
            write_text(out / file, "".join(f"{truth} {a} {b}\n" for a, b, truth in listed))
    write_text(out / "tiny_meta.csv", "".join(meta))
    shutil.rmtree(loose)


MAKERS = {
    "librispeech": make_librispeech,
    "voxceleb": make_voxceleb,
    "voxsrc_features": make_voxsrc_features,
    "tiny_voxceleb": make_tiny_voxceleb,
}


def make(name: str, out: Path, sizes: Sizes, nj: int = 1) -> bool:
    """Make a miniature unless it stands there complete, of the same sizes.

    Parameters
    ----------
    name : str
        One of `MAKERS`.
    out : Path
        Whatever the folder held of another miniature goes.
    sizes : Sizes
    nj : int
        Processes; change no byte.

    Returns
    -------
    bool
        Whether anything was made.

    Raises
    ------
    UsageError
        Sizes that make no trials, or a folder that holds something else.
    """
    if sizes.train < 2 or sizes.test < 2 or sizes.sessions < 2 or sizes.utterances < 1:
        raise UsageError("at least 2 speakers to train, 2 to test, and 2 sessions are needed")
    if not 0.5 <= sizes.seconds[0] <= sizes.seconds[1]:
        raise UsageError(f"recordings last 0.5 s or more, the least first, not {sizes.seconds}")
    record = {"corpus": name, **sizes._asdict(), "seconds": list(sizes.seconds)}
    mark = out / MARK
    former = _former(mark)
    if former == record:
        return False
    if out.exists() and any(out.iterdir()):
        if former is None and not (out / f".{MARK}").exists():
            raise UsageError(f"{out}: holds something else than a miniature corpus; name another")
        shutil.rmtree(out)
    # A mark of being at work, by which an interrupted run's folder is known.
    write_text(out / f".{MARK}", "")
    MAKERS[name](out, sizes, nj)
    write_text(mark, json.dumps(record) + "\n")
    (out / f".{MARK}").unlink()
    return True


def make_voice(voice: Voice) -> str:
    """Generate a speaker's recordings.

    Returns
    -------
    gender : str
        "f" or "m".
    """
    import soundfile

    from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise

    speaker = draw_speaker(stream(voice.seed, voice.speaker))
    for i, (file, place) in enumerate(voice.files):
        session = draw_session(stream(voice.seed, voice.speaker, place))
        rng = stream(voice.seed, voice.speaker, place, i)
        samples = synthesise(speaker, session, float(rng.uniform(*voice.seconds)), RATE, rng)
        pcm = np.round(samples * 32767).astype(np.int16)
        packed = io.BytesIO()
        kind = "FLAC" if file.endswith(".flac") else "WAV"
        soundfile.write(packed, pcm, RATE, subtype="PCM_16", format=kind)
        with atomic_write(file) as out:
            out.write(packed.getvalue())
    return speaker.gender


def _generate(voices: Sequence[Voice], nj: int) -> list[str]:
    """Make all recordings; genders of the speakers."""
    return list(progress(map_shards(make_voice, voices, nj), len(voices), "generating", "speakers"))


def _utterances(speakers: Iterable[str], sizes: Sizes) -> list[str]:
    """Ids ``SPEAKER/VIDEO/UTT``; a session is a video."""
    return [
        f"{speaker}/{_video(speaker, session)}/{u + 1:05d}"
        for speaker in speakers
        for session in range(sizes.sessions)
        for u in range(sizes.utterances)
    ]


def _voices(
    utts: Iterable[str], speakers: Mapping[str, int], root: Path, sizes: Sizes
) -> list[Voice]:
    files: dict[str, list[str]] = {speaker: [] for speaker in speakers}
    for utt in utts:
        files[utt.split("/")[0]].append(str(root / f"{utt}.wav"))
    return [
        Voice(
            sizes.seed,
            n,
            sizes.seconds,
            tuple((file, i // sizes.utterances) for i, file in enumerate(files[speaker])),
        )
        for speaker, n in speakers.items()
    ]


def _video(speaker: str, session: int) -> str:
    """Eleven characters, as the originals have them."""
    digest = hashlib.md5(f"{speaker} {session}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:11].decode()


def _first_of_each(utts: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    for utt in utts:
        first.setdefault(utt.split("/")[0], utt)
    return list(first.values())


def _trials(utts: Sequence[str], seed: int) -> list[tuple[str, str, bool]]:
    """All pairs of a speaker's utterances of different videos, and some of others, shuffled."""
    pairs = list(itertools.combinations(utts, 2))
    speakers = [(a.split("/")[0], b.split("/")[0]) for a, b in pairs]
    videos = [(a.rsplit("/", 1)[0], b.rsplit("/", 1)[0]) for a, b in pairs]
    target = [i for i, (s, v) in enumerate(zip(speakers, videos)) if s[0] == s[1] and v[0] != v[1]]
    other = [i for i, (one, two) in enumerate(speakers) if one != two]
    rng = np.random.default_rng(seed)
    chosen = [*target, *rng.permutation(other)[: NONTARGETS * len(target)].tolist()]
    return [(*pairs[i], speakers[i][0] == speakers[i][1]) for i in rng.permutation(chosen)]


def _shuffled(utts: Sequence[str], seed: int) -> list[str]:
    """Utterances in the order of shards, which hold no speaker together."""
    return [utts[i] for i in np.random.default_rng([seed, 3]).permutation(len(utts))]


def _former(mark: Path) -> dict[str, Any] | None:
    try:
        return read_json(mark, "a mark")
    except DataError:
        return None


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(prog="python -m recipes.miniature", description=COMMANDS["miniature"].sentence)
    add = parser.add_argument
    add("corpus", choices=tuple(MAKERS), help="whose layout")
    add("out", type=Path, help="folder to make")
    add("--train", type=whole(2), default=20, help="speakers to train on")
    add("--test", type=whole(2), default=8, help="speakers to test")
    add("--sessions", type=whole(2), default=4, help="chapters or videos of each speaker")
    add("--utterances", type=whole(1), default=2, help="recordings of each session")
    add("--seconds", type=number(0.5), nargs=2, default=(2.0, 3.5), metavar=("LEAST", "MOST"),
        help="length of the recordings")  # fmt: skip
    add("--seed", type=SEED, default=0, help="another seed gives other speakers")
    add_parallel_options(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Make one."""
    sizes = Sizes(
        arguments.train,
        arguments.test,
        arguments.sessions,
        arguments.utterances,
        tuple(arguments.seconds),
        arguments.seed,
    )
    made = make(arguments.corpus, arguments.out, sizes, arguments.nj)
    print(f"{arguments.out}: {'made' if made else 'complete with these sizes, left untouched'}")


def cli() -> int:
    """Entry point."""
    return run(make_parser(), main)


if __name__ == "__main__":
    # Through the import system, so that worker processes find the classes by name.
    from recipes.miniature import cli as entry

    raise SystemExit(entry())
