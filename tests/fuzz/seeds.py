"""Whole files of every format in one folder, and what reads each: readers, and commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.commands import run_command
from recipes.program import table

UTTS = [f"s{s}-u{u}" for s in range(4) for u in range(5)]


class Use(NamedTuple):
    """What reads a file: its format, the file, and a function or the words of a command."""

    kind: str
    form: str
    file: str
    call: Callable[[], Any] | list[str]

    @property
    def name(self) -> str:
        call = " ".join(self.call[:2]) if isinstance(self.call, list) else self.call.__qualname__
        return f"{self.file}: {call}"


def write_world() -> None:
    """Write the files into this folder; the same ones every time."""
    rng = np.random.default_rng(0)
    _write_vectors(rng)
    _write_mixtures(rng)
    _write_statistics(rng)
    _write_scores(rng)
    _write_lists()
    _write_networks(rng)


def _write_vectors(rng: np.random.Generator) -> None:
    from sklearn.pipeline import make_pipeline

    from ivector.base.files import save_model
    from ivector.formats.arks import ArkWriter
    from plda.formats import models, vectors
    from plda.models.plda import PLDA
    from plda.transforms.centring import Center
    from plda.transforms.discriminant import LDA

    X = rng.standard_normal((20, 6)) + np.repeat(rng.standard_normal((4, 6)) * 3, 5, axis=0)
    y = [utt.split("-")[0] for utt in UTTS]
    backend = make_pipeline(Center(), LDA(3), PLDA(2)).fit(X, y)
    models.save_model(backend, "backend.npz")
    plda = PLDA(2).fit(X, y)
    models.write_plda(plda, "plda")
    models.write_plda(plda, "plda.txt", binary=False)
    models.write_transform(backend[1], "transform.mat")
    models.write_mean(backend[0], "mean.vec")
    for name in ("vectors.npz", "vectors.ark", "vectors.txt"):
        vectors.write_ids_vectors(name, UTTS, X)
    save_model("embeddings.npz", "vectors", {"ids": np.array(UTTS), "vectors": X}, {})
    for name, compress in (("feats", False), ("packed", True), ("two", "two-byte")):
        with ArkWriter(name, compress) as writer:
            for utt in UTTS:
                writer.write(utt, rng.standard_normal((30, 8)).astype(np.float32))
    Path("feats.txt").write_text("a  [\n  1 2 3\n  4 5 6 ]\nb  [\n  1.5 2 3 ]\n")
    Path("num_utts").write_text("".join(f"{utt} 1\n" for utt in UTTS))


def _write_mixtures(rng: np.random.Generator) -> None:
    from ivector.formats import extractor, gmm
    from ivector.gmm.diagonal import DiagonalGMM
    from ivector.gmm.full import FullGMM
    from ivector.total_variability.model import TotalVariability
    from ivector.total_variability.subspace import Subspace

    means = rng.standard_normal((3, 2))
    diagonal = DiagonalGMM(3).set_parameters(np.full(3, 1 / 3), means, np.ones((3, 2)))
    full = FullGMM(3).set_parameters(np.full(3, 1 / 3), means, np.tile(np.eye(2), (3, 1, 1)))
    gmm.save_gmm("diagonal.npz", diagonal)
    gmm.save_gmm("full.npz", full)
    for binary, end in ((True, ""), (False, ".txt")):
        gmm.write_diag_gmm(f"final.dubm{end}", diagonal, binary)
        gmm.write_full_gmm(f"final.ubm{end}", full, binary)
    tv = TotalVariability.from_subspace(
        Subspace(
            np.full(3, 1 / 3), rng.standard_normal((3, 2, 2)), np.tile(np.eye(2), (3, 1, 1)), 100.0
        )
    )
    tv.save("tv.npz")
    extractor.write_extractor("final.ie", tv)
    extractor.write_extractor("final.ie.txt", tv, binary=False)


def _write_statistics(rng: np.random.Generator) -> None:
    from ivector.formats.statistics import write_statistics
    from ivector.statistics.batch import BaumWelchStatistics

    second = np.tile(np.eye(2), (3, 1, 1))
    zeroth = rng.random((4, 3)).astype(np.float32)
    first = rng.standard_normal((4, 3, 2)).astype(np.float32)
    statistics = BaumWelchStatistics(zeroth, first, second, np.zeros((3, 2)))
    write_statistics("float32.npz", statistics)
    write_statistics("float16.npz", statistics, "float16")


def _write_scores(rng: np.random.Generator) -> None:
    from fusion.calibration.one_system import METHODS, Calibration
    from fusion.calibration.saving import save_model
    from fusion.formats.files import read_scores, read_trials
    from fusion.formats.hdf5 import write_key, write_scores

    rows = [(e, t, e[1] == t[1]) for e in UTTS[::5] for t in UTTS if e != t]
    scores = [2.0 * same + float(rng.standard_normal()) for *_, same in rows]
    for name in ("scores", "other"):
        lines = (f"{e} {t} {s:.5f}\n" for (e, t, _), s in zip(rows, scores))
        Path(name).write_text("".join(lines))
        scores = [s + 0.3 * float(rng.standard_normal()) for s in scores]
    labels = {True: "target", False: "nontarget"}
    Path("trials").write_text("".join(f"{e} {t} {labels[same]}\n" for e, t, same in rows))
    lines = (f"{utt},{1.5 + n % 7},{'mf'[n % 2]}\n" for n, utt in enumerate(UTTS))
    Path("table.csv").write_text("id,duration,gender\n" + "".join(lines))
    write_scores("scores.h5", read_scores("scores"))
    write_key("trials.h5", read_trials("trials"))
    y = np.array([same for *_, same in rows])
    one = np.array(scores)
    for method in METHODS:
        save_model(f"{method}.json", Calibration(method).fit(one, y), {"speakers": 4})
    learn = ["A=scores", "B=other", "trials", "--model", "fusion.json", "--folds", "4"]
    with contextlib.redirect_stdout(io.StringIO()):  # by the command: it keeps what it learnt from
        assert command(["fusion", "fuse", *learn]) == 0


def _write_lists() -> None:
    utt2spk = "".join(f"{utt} {utt.split('-')[0]}\n" for utt in UTTS)
    for name in ("utt2spk", "data/utt2spk"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(utt2spk)
    spk2utt = (f"s{s} {' '.join(UTTS[5 * s : 5 * s + 5])}\n" for s in range(4))
    Path("data/spk2utt").write_text("".join(spk2utt))
    Path("data/wav.scp").write_text("".join(f"{utt} {utt}.wav\n" for utt in UTTS))
    Path("train.json").write_text(
        json.dumps({"model": {"name": "ecapa"}, "training": {"steps": 5}})
    )
    Path("train.toml").write_text('[model]\nname = "ecapa"\n[training]\nsteps = 5\n')
    Path("mine.conf").write_text("nj=2\n# a remark\nnum_components=64\n")


def _write_networks(rng: np.random.Generator) -> None:
    import soundfile
    import torch

    from dnn.data import mel_set
    from dnn.embedding.export import save_network
    from dnn.formats.shards import write_shards
    from dnn.formats.tensors import write_tensor
    from dnn.losses.table import build_loss
    from dnn.models import build
    from dnn.training.checkpoint import save_checkpoint
    from ivector.features.store.reader import LogMelStore

    torch.manual_seed(0)
    torch.set_num_threads(1)
    options = {"n_features": 8, "channels": (8, 8, 8, 8, 8), "embedding_dim": 4}
    model = build("xvector-small", **options)
    loss = build_loss("softmax", 4, 4)
    save_network("network", model, loss, ["s0", "s1", "s2", "s3"])
    save_checkpoint("last.pt", {"step": 1, "w": torch.ones(3), "names": ["a"]})
    write_tensor("feats.pt", rng.standard_normal((30, 8)))
    for name in ("a", "b"):
        soundfile.write(f"{name}.wav", 0.1 * rng.standard_normal(8000), 16000)
    write_shards("shards", {"s/v/a": "a.wav", "s/v/b": "b.wav"})
    for storage in ("kaldi", "float16"):
        given = [(name, f"{name}.wav", None, None) for name in ("a", "b")]
        LogMelStore.create(f"store.{storage}", given, storage=storage)
    features = rng.standard_normal((30, 40)).astype(np.float32)
    mel_set.write_set(Path("mels"), {"a": [features] * 2, "b": [features] * 2}, [features])


def uses() -> list[Use]:
    """Every reader and every command that reads a file, by format."""
    return [*_kaldi(), *_arrays(), *_others(), *_commands()]


def _kaldi() -> list[Use]:
    from ivector.base.kaldi import read_vectors
    from ivector.formats import arks, extractor, gmm
    from plda.formats import models, vectors

    def scp() -> Any:
        return list(arks.load_scp(arks.read_scp("feats.scp")))

    def feats(file: str) -> Callable[[], Any]:
        def read_ark() -> Any:
            return list(arks.read_ark(file))

        return read_ark

    def rows() -> Any:
        from dnn.data.sources import open_features

        source = open_features(Path("packed.scp"))
        return [source.read(n) for n in range(len(source.ids))]

    readers: list[tuple[str, str, Callable[[], Any]]] = [
        ("kaldi", file, _of(read, file))
        for read, files in (
            (gmm.read_gmm, ("final.dubm", "final.ubm", "diagonal.npz")),
            (extractor.read_extractor, ("final.ie",)),
            (models.read_plda, ("plda",)),
            (models.read_transform, ("transform.mat",)),
            (models.read_mean, ("mean.vec",)),
            (vectors.read_ids_vectors, ("vectors.ark",)),
        )
        for file in files
    ]
    readers += [
        ("text", file, _of(read, file))
        for read, file in (
            (gmm.read_gmm, "final.dubm.txt"), (gmm.read_gmm, "final.ubm.txt"),
            (extractor.read_extractor, "final.ie.txt"), (models.read_plda, "plda.txt"),
            (vectors.read_ids_vectors, "vectors.txt"), (read_vectors, "vectors.txt"),
            (vectors.read_counts, "num_utts"), (arks.read_scp, "feats.scp"),
        )
    ]  # fmt: skip
    readers += [
        ("kaldi", f"{name}.ark", feats(f"{name}.ark")) for name in ("feats", "packed", "two")
    ]
    readers += [
        ("text", "feats.txt", feats("feats.txt")), ("text", "feats.scp", scp),
        ("kaldi", "feats.ark", scp), ("kaldi", "packed.ark", rows), ("text", "packed.scp", rows),
    ]  # fmt: skip
    return [Use("kaldi", form, file, call) for form, file, call in readers]


def _arrays() -> list[Use]:
    from dnn.embedding.trials import read_vectors
    from ivector.formats.gmm import load_gmm
    from ivector.formats.statistics import read_statistics
    from ivector.total_variability.model import TotalVariability
    from plda.formats import models, vectors

    return [
        Use("npz", "npz", file, _of(read, file))
        for read, file in (
            (load_gmm, "diagonal.npz"), (load_gmm, "full.npz"), (TotalVariability.load, "tv.npz"),
            (read_statistics, "float32.npz"), (read_statistics, "float16.npz"),
            (models.load_model, "backend.npz"), (vectors.read_ids_vectors, "vectors.npz"),
            (read_vectors, "embeddings.npz"),
        )
    ]  # fmt: skip


def _others() -> list[Use]:
    from dnn.configuration.files import read_config
    from dnn.configuration.presets import PRESETS
    from dnn.data import mel_set
    from dnn.embedding.export import load_classifier
    from dnn.formats.shards import read_shards
    from dnn.formats.tensors import read_tensor
    from dnn.training.checkpoint import load_checkpoint
    from fusion.calibration.one_system import METHODS
    from fusion.calibration.saving import read_model
    from ivector.data import read_data_dir
    from ivector.features.store.reader import LogMelStore
    from recipes.engine.settings import TABLE

    def network() -> Any:
        return load_classifier("network")

    def store(name: str) -> Callable[[], Any]:
        def read_store() -> Any:
            found = LogMelStore.open(name)
            return [found[utt] for utt in found]

        return read_store

    def mels() -> Any:
        mel_set.read_test(Path("mels"))
        return mel_set.read_training(Path("mels")).source.read(0)

    def conf() -> Any:
        return TABLE.read_config(Path("mine.conf"), Path())

    found = [
        Use("json", "json", f"{m}.json", _of(read_model, f"{m}.json")) for m in (*METHODS, "fusion")
    ]
    found += [
        Use("json", "json", f"mels/{n}.json", mels) for n in ("metadata", "mapping", "testdata")
    ]
    for name in ("kaldi", "float16"):
        folder = f"store.{name}"
        found.append(Use("json", "json", f"{folder}/store.json", store(folder)))
        found.append(Use("text", "text", f"{folder}/index", store(folder)))
    found += [
        Use(
            "config",
            form,
            f"train.{form}",
            lambda f=f"train.{form}": read_config(f, PRESETS["train"]),
        )
        for form in ("json", "toml")
    ]
    return [
        *found,
        Use("config", "text", "mine.conf", conf),
        Use("network", "json", "network/config.json", network),
        Use("network", "safetensors", "network/network.safetensors", network),
        Use("network", "pt", "feats.pt", _of(read_tensor, "feats.pt")),
        Use("network", "pt", "last.pt", _of(load_checkpoint, "last.pt")),
        Use("tar", "tar", "shards/shard-000000.tar", _of(read_shards, "shards")),
        *(Use("text", "text", f"data/{n}", _of(read_data_dir, "data"))
          for n in ("wav.scp", "utt2spk", "spk2utt")),
    ]  # fmt: skip


def _of(read: Callable[[Any], Any], file: str) -> Callable[[], Any]:
    def call() -> Any:
        return read(file)

    call.__qualname__ = read.__qualname__
    return call


def _commands() -> list[Use]:
    score = ["plda", "score", "backend.npz", "vectors.npz", "vectors.npz", "trials", "out/scores"]
    kaldi = ["plda", "score", "plda", "vectors.ark", "vectors.ark", "trials", "out/scores"]
    evaluate = ["fusion", "evaluate", "scores.h5", "trials.h5", "--bootstrap", "0"]
    apply = [
        "fusion",
        "calibrate",
        "--model",
        "logistic.json",
        "--apply",
        "scores",
        "--out",
        "out/c",
    ]
    fuse = [
        "fusion",
        "fuse",
        "--model",
        "fusion.json",
        "--apply",
        "A=scores",
        "B=other",
        "--out",
        "out/f",
    ]
    extract = ["dnn", "extract", "network", "--features", "feats.scp", "--out", "out/x.npz",
               "--device", "cpu", "--threads", "1"]  # fmt: skip
    verify = [
        "dnn",
        "verify",
        "--vectors",
        "embeddings.npz",
        "--trials",
        "trials",
        "--out",
        "out/v",
    ]
    lint = ["fusion", "lint", "scores", "trials", "--utt2spk", "utt2spk"]
    return [
        Use("commands", form, file, words)
        for form, file, words in (
            ("npz", "backend.npz", score), ("npz", "vectors.npz", score), ("text", "trials", score),
            ("kaldi", "plda", kaldi), ("kaldi", "vectors.ark", kaldi),
            ("hdf5", "scores.h5", evaluate), ("hdf5", "trials.h5", evaluate),
            ("json", "logistic.json", apply), ("text", "scores", apply),
            ("json", "fusion.json", fuse),
            ("json", "network/config.json", extract), ("kaldi", "feats.ark", extract),
            ("text", "feats.scp", extract), ("npz", "embeddings.npz", verify),
            ("text", "trials", verify), ("text", "utt2spk", lint),
            ("text", "data/utt2spk", ["recipes", "validate", "data"]),
            ("text", "data/wav.scp", ["recipes", "validate", "data"]),
        )
    ]  # fmt: skip


def command(words: list[str]) -> int:
    """Run a command in this process; its exit status."""
    package, name, *rest = words
    if package == "recipes" and name == "steps":
        from recipes.steps.__main__ import cli

        return _status(lambda: cli(rest))
    os.makedirs("out", exist_ok=True)
    return _status(lambda: run_command(package, table(package), [name, *rest]))


def _status(body: Callable[[], int]) -> int:
    try:
        return body()
    except SystemExit as error:
        return int(error.code or 0)
