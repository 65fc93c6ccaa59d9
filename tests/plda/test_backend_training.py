"""Training from files: as in memory, whatever is streamed; what is chosen; mistakes are named."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from ivector.base import budget
from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError
from plda import (
    LDA,
    PLDA,
    Center,
    LengthNorm,
    Whiten,
    load_model,
    train_backend,
    write_ids_vectors,
)
from plda.commands.train import main, make_parser
from plda.scoring.cosine import Cosine
from plda.training.choice import SMOOTHINGS, choose
from plda.training.detection import detection
from plda.training.labels import SpeakerLabels
from plda.training.statistics import Sums

N_DIMS = 24


def world(n_speakers=40, n_each=6, n_useful=6, seed=0):
    """Vectors (N, D) of speakers who differ in a few dimensions alone, and their speakers."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_speakers), n_each)
    means = np.zeros((n_speakers, N_DIMS))
    means[:, :n_useful] = 3 * rng.normal(size=(n_speakers, n_useful))
    mixed = np.linalg.qr(rng.normal(size=(N_DIMS, N_DIMS)))[0]
    return 5 + (means[y] + rng.normal(size=(len(y), N_DIMS))) @ mixed, y


@pytest.fixture
def files(tmp_path):
    X, y = world()
    ids = [f"s{speaker:02}-{n:03}" for n, speaker in enumerate(y)]
    order = np.random.default_rng(1).permutation(len(y))
    write_ids_vectors(tmp_path / "x.ark", [ids[n] for n in order], X[order].astype("f4"))
    (tmp_path / "utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in ids))
    return tmp_path, X[order].astype("f4").astype("f8"), y[order]


@pytest.fixture(autouse=True)
def no_limit():
    yield
    budget.set_memory_limit(0)


def call(folder, *options, vectors="x.ark"):
    words = [folder / vectors, folder / "utt2spk", "--out", folder / "b.npz", *options]
    return run(make_parser(), main, [*map(str, words)])


def parameters(backend):
    names = ("mean_", "projection_", "transform_", "psi_")
    return [
        getattr(step, name) for _, step in backend.steps for name in names if hasattr(step, name)
    ]


CHAINS = {
    "kaldi": (Center(), LDA(5), LengthNorm(), PLDA(smoothing=0.1)),
    "vbx": (Center(), LengthNorm(), LDA(5), LengthNorm(), PLDA(smoothing=0.1)),
    "whiten length-norm lda plda": (Whiten(), LengthNorm(), LDA(5), PLDA(smoothing=0.1)),
}


@pytest.mark.parametrize("held", [0, 1 << 28])
@pytest.mark.parametrize("chain", CHAINS)
def test_streamed_training_is_that_in_memory(files, monkeypatch, chain, held):
    folder, X, y = files
    # By its full name, as the package lends the name to the function's module.
    monkeypatch.setattr(importlib.import_module("plda.training.train"), "HELD", held)
    monkeypatch.setattr(importlib.import_module("plda.formats.kaldi_vectors"), "_CHUNK", 500)
    trained = train_backend(folder / "x.ark", folder / "utt2spk", chain, 5, 0.1)
    assert (trained.n_vectors, trained.n_speakers) == (240, 40) and not trained.candidates
    expected = make_pipeline(*CHAINS[chain]).fit(X, y)
    for found, wanted in zip(parameters(trained.backend), parameters(expected), strict=True):
        # The last rows are as good as float32's digits of what behind float64's in memory.
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_sums_lose_no_digits_far_from_the_origin():
    X, y = world()
    X += 1e4
    sums = Sums(40)
    for start in range(0, len(X), 7):
        sums.add(X[start : start + 7], y[start : start + 7])
    within = sums.statistics().within_scatter
    residual = X - np.stack([X[y == k].mean(axis=0) for k in range(40)])[y]
    np.testing.assert_allclose(within, residual.T @ residual, rtol=1e-8, atol=1e-7)


def test_what_is_chosen_is_the_dimension_of_speakers(files, capsys):
    folder, _, _ = files
    # Cosines count every dimension; PLDA weighs them, and is little hurt by those of no use.
    assert call(folder, "--chain", "center lda cosine") == 0
    told = capsys.readouterr().out
    backend = load_model(folder / "b.npz")
    assert [type(step) for _, step in backend.steps] == [Center, LDA, Cosine]
    chosen = backend["lda"].n_components
    assert 6 <= chosen <= 12 and f"{chosen:>24}" in told
    assert told.count("  chosen") == 1 and "240 vectors of 40 speakers" in told
    # The same seed gives the same bytes.
    content = (folder / "b.npz").read_bytes()
    assert call(folder, "--chain", "center lda cosine") == 0
    assert (folder / "b.npz").read_bytes() == content


def test_choice_tries_every_setting_and_sorts_them():
    X, y = world()
    steps = [Center(), LDA(), LengthNorm(), PLDA()]
    candidates = choose(steps, X, y, None, None, 0)
    sizes = {one.lda for one in candidates}
    assert max(sizes) == N_DIMS and min(sizes) <= 4
    assert len(candidates) == len(sizes) * len(SMOOTHINGS)
    assert [one.errors for one in candidates] == sorted(one.errors for one in candidates)
    assert not hasattr(steps[1], "projection_")
    only = choose(steps, X, y, 5, 0.1, 0)
    assert [(one.lda, one.smoothing) for one in only] == [(5, 0.1)]
    assert only[0].errors.eer < 0.2
    # Speakers that do not differ are chance.
    noise = choose(steps, np.random.default_rng(0).normal(size=X.shape), y, 5, 0.1, 0)
    assert 0.4 < noise[0].errors.eer < 0.6 and noise[0].errors.cost > 0.9


def test_other_chains_are_chosen_and_saved(files):
    folder, _, _ = files
    for chain, classes in (
        ("kaldi", [Center, LDA, LengthNorm, PLDA]),
        ("whiten length-norm plda", [Whiten, LengthNorm, PLDA]),
    ):
        assert call(folder, "--chain", chain) == 0
        backend = load_model(folder / "b.npz")
        assert [type(step) for _, step in backend.steps] == classes
        assert backend[-1].smoothing in SMOOTHINGS


def test_detection_of_known_scores():
    perfect = detection(np.array([2.0, 3]), np.array([0.0, 1]))
    assert perfect == (0, 0)
    worst = detection(np.array([0.0, 1]), np.array([2.0, 3]))
    assert worst == (1, 1)
    assert detection(np.zeros(4), np.zeros(9)) == (
        1,
        1,
    )  # of equal scores, all are accepted or none


@pytest.mark.parametrize(
    ("spoil", "options", "code", "text"),
    [
        ("half", [], 1, "utt2spk: has no speaker for 120 of 240 vectors of"),
        ("extra", [], 1, "lacks 2 of 242 utterances of"),
        ("single", ["--lda", "3", "--smoothing", "0"], 1, "each of 240 speakers has one vector"),
        ("one", [], 1, "has one speaker; give vectors of several"),
        ("few", [], 1, "4 speakers have two vectors or more, and 10 are needed"),
        ("twice", [], 1, "utterance s00-000 occurs twice"),
        ("fields", [], 1, "line 1: expected 'utterance speaker', got 'a b c'"),
        ("none", [], 1, "holds no speakers"),
        ("strangers", ["--skip-missing"], 1, "has no vector of an utterance of"),
        ("fine", ["--lda", "25"], 2, "n_components must be an integer from 1 to the 24"),
        ("fine", ["--chain", "center svm"], 2, "--chain has an unknown step 'svm'; give kaldi or"),
        ("fine", ["--chain", "center lda"], 2, "--chain ends in plda or cosine"),
        ("fine", ["--chain", "lda lda plda"], 2, "--chain has LDA twice"),
        ("fine", ["--chain", "center plda", "--lda", "3"], 2, "--lda is of no use in the chain"),
        ("fine", ["--chain", "lda cosine", "--smoothing", "0"], 2, "--smoothing is of no use"),
        ("fine", ["--memory", "100"], 2, "MiB of memory in a process, the limit is 100: give"),
        ("fine", ["--out", "b.h5"], 2, "--out b.h5: a back-end is a file that ends in .npz"),
    ],
)
def test_mistakes_are_named_in_one_line(files, capsys, spoil, options, code, text):
    folder, _, _ = files
    path = folder / "utt2spk"
    lines = path.read_text().splitlines(keepends=True)
    spoilt = {
        "fine": lines,
        "half": lines[::2],
        "extra": [*lines, "more s00\n", "evenmore s00\n"],
        "single": [f"{line.split()[0]} {line.split()[0]}\n" for line in lines],
        "one": [f"{line.split()[0]} ann\n" for line in lines],
        "few": [f"{line.split()[0]} {n % 4}\n" for n, line in enumerate(lines)],
        "twice": [*lines, lines[0]],
        "fields": ["a b c\n"],
        "none": [],
        "strangers": ["a b\n"],
    }
    path.write_text("".join(spoilt[spoil]))
    assert call(folder, *options) == code
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("python -m")]
    assert text in line
    assert not (folder / "b.npz").exists()


def test_vectors_that_come_twice_are_named(files, capsys):
    folder, _, _ = files
    content = (folder / "x.ark").read_bytes()
    (folder / "x.ark").write_bytes(content * 2)
    assert call(folder) == 1
    assert "occurs twice; ids must be unique" in capsys.readouterr().err


@pytest.mark.parametrize("held", [0, 1 << 28])
def test_what_is_missing_is_left_out_on_request(files, monkeypatch, held):
    folder, X, y = files
    path = folder / "utt2spk"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:120], "more s99\n"]))
    with pytest.raises(DataError, match="leave those out with `skip_missing`"):
        train_backend(folder / "x.ark", path, lda=3, smoothing=0)
    # Blocks of which nothing is left are passed over, in the first pass and in the others.
    monkeypatch.setattr(importlib.import_module("plda.training.train"), "HELD", held)
    monkeypatch.setattr(importlib.import_module("plda.formats.kaldi_vectors"), "_CHUNK", 300)
    trained = train_backend(folder / "x.ark", path, lda=3, smoothing=0, skip_missing=True)
    assert (trained.n_vectors, trained.n_speakers) == (120, 20)
    expected = Center().fit(X[y < 20])
    np.testing.assert_allclose(trained.backend[0].mean_, expected.mean_, atol=1e-5)


def test_a_sample_has_some_vectors_of_many_speakers(tmp_path):
    (tmp_path / "utt2spk").write_text("".join(f"u{n} s{n % 20}\n" for n in range(1000)))
    labels = SpeakerLabels(tmp_path / "utt2spk")
    sampled = importlib.import_module("plda.training.train")._sampled
    is_sampled = sampled(labels, 95, 0)
    counts = np.bincount(labels.index[is_sampled], minlength=20)
    assert counts.sum() == 95 and sorted(counts)[-9:] == [10] * 9
    assert sampled(labels, 1000, 0).all() and not sampled(labels, 0, 0).any()
    # Hashes of strings are others in every process; the sample is the same.
    code = (
        "import sys; from plda.training.train import SpeakerLabels, _sampled\n"
        "labels = SpeakerLabels(sys.argv[1])\n"
        "print(*sorted(labels.place[_sampled(labels, 95, 0)]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "utt2spk")]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(n) for n in sorted(labels.place[is_sampled])]


def test_labels_find_what_they_hold(tmp_path):
    (tmp_path / "utt2spk").write_text("b ann\na bob\nc ann\n\n")
    labels = SpeakerLabels(tmp_path / "utt2spk")
    rows = labels.rows(["a", "c", "none", "b"])
    assert rows[2] == -1
    assert [labels.speakers[labels.index[row]] for row in rows[[0, 1, 3]]] == ["bob", "ann", "ann"]
    assert [labels.utterance(row) for row in rows[[0, 1, 3]]] == ["a", "c", "b"]
    with pytest.raises(UsageError):
        train_backend(tmp_path / "x.ark", tmp_path / "utt2spk", "nonsense")
