"""Storage and budgets of the recipe's stages: compressed features and statistics, refusals."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from step_cases import call, places

from ivector.base.errors import UsageError
from ivector.base.parallel import checkpoint
from ivector.data import read_data_dir
from ivector.formats.arks import ArkWriter, load_scp, read_scp
from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise
from recipes.experiment import trials
from recipes.experiment.vectors import read_vectors
from recipes.steps import features, gmm_ubm, total_variability, ubm

SPEAKERS, SESSIONS = 6, 4
SIZES = (
    "--mfcc-config recipes/conf/mfcc_8k.conf --num-components 8 --num-iters-diag 3 "
    "--num-iters-full 1 --rank 4 --lda-dim 0 --num-iters-tv 2 --top-n 4 --dev-folds 0 --nj 1"
).split()

pytestmark = pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")


def step(folder, number, *options):
    """A stage of the i-vector system; a mistake is raised."""
    call(str(number), *places(folder), *SIZES, "--system", "ivector", *options)


def again(folder, number, *options):
    """The same, though it is done."""
    step(folder, number, "--stage", str(number), *options)


def gmm_scores(folder, *options):
    step(folder, 6, "--system", "gmm-ubm", "--stage", "6", *options)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six generated speakers of four recordings, three for training; features and a UBM."""
    folder = tmp_path_factory.mktemp("recipe")
    wav, fold = folder / "data/wav", folder / "data/fold0"
    wav.mkdir(parents=True)
    fold.mkdir()
    names = []
    for i in range(SPEAKERS):
        speaker = draw_speaker(np.random.default_rng(i))
        for j in range(SESSIONS):
            rng = np.random.default_rng([i, j])
            path = folder / f"s{i}-{j}.wav"
            soundfile.write(path, synthesise(speaker, draw_session(rng), 3.0, 8000, rng), 8000)
            names.append((f"s{i}-{j}", path))
    (wav / "wav.scp").write_text("".join(f"{utt} {path}\n" for utt, path in names))
    table = "".join(f"{utt} {utt[:2]}\n" for utt, _ in names)
    (wav / "utt2spk").write_text(table)
    half = SPEAKERS // 2
    train = [line for line in table.splitlines() if int(line[1]) < half]
    (fold / "train.utt2spk").write_text("\n".join(train) + "\n")
    test = [utt for utt, _ in names if int(utt[1]) >= half]
    (fold / "enroll").write_text("".join(f"{utt[:2]} {utt}\n" for utt in test if utt[-1] == "0"))
    (fold / "trials").write_text(
        "".join(
            f"s{i} {utt} {'target' if utt[1] == str(i) else 'nontarget'}\n"
            for i in range(half, SPEAKERS)
            for utt in test
            if utt[-1] != "0"
        )
    )
    for number in (1, 2):
        step(folder, number, "--system", "all", "--systems", "ivector gmm-ubm")
    return folder


def test_compressed_features_keep_their_error_bound(tmp_path):
    """Half a step of the segment between a column's percentiles that a number lies in."""
    rng = np.random.default_rng(0)
    tables = {
        "a": rng.normal(size=(300, 5)) * [1, 10, 0.1, 100, 1],
        "b": rng.exponential(size=(9, 3)),
    }
    with ArkWriter(tmp_path / "f", compress=True) as writer:
        for key, table in tables.items():
            writer.write(key, table.astype(np.float32))
    for key, found in load_scp(read_scp(tmp_path / "f.scp")):
        exact = np.sort(tables[key], axis=0)
        n = len(exact)
        corners = exact[[0, n // 4, 3 * n // 4, n - 1]]
        # 64, 128 and 63 steps of the three segments; corners are rounded to 1 / 65535 of the range.
        widths = np.diff(corners, axis=0) / np.array([[64], [128], [63]])
        segment = np.sum(tables[key][None] > corners[1:3, None], axis=0)
        step_size = np.take_along_axis(widths, segment, axis=0)
        grain = (tables[key].max() - tables[key].min()) / 65535
        assert (np.abs(found - tables[key]) <= 0.51 * step_size + 3 * grain + 1e-6).all()


def test_two_bytes_are_exact_to_half_a_step(tmp_path):
    table = np.random.default_rng(0).normal(size=(300, 5)) * [1, 10, 0.1, 100, 1]
    with ArkWriter(tmp_path / "f", compress="two-byte") as writer:
        writer.write("a", table.astype(np.float32))
    ((_, found),) = load_scp(read_scp(tmp_path / "f.scp"))
    assert (tmp_path / "f.ark").stat().st_size < 0.51 * table.size * 4
    assert np.abs(found - table).max() <= 0.51 * (table.max() - table.min()) / 65535 + 1e-5


def test_compressed_features_take_a_third(corpus, tmp_path):
    (tmp_path / "data").symlink_to(corpus / "data")
    step(tmp_path, 1, "--feature-storage", "compressed")
    sizes = [
        sum(path.stat().st_size for path in (folder / "exp/features").glob("feats.*.ark"))
        for folder in (tmp_path, corpus)
    ]
    assert sizes[0] < 0.32 * sizes[1]
    exact = dict(load_scp(read_scp(corpus / "exp/features/feats.scp")))
    for key, found in load_scp(read_scp(tmp_path / "exp/features/feats.scp")):
        assert np.sqrt(np.mean((found - exact[key]) ** 2)) < 0.02 * exact[key].std()


def test_disk_is_refused_before_the_stage_begins(corpus, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(corpus / "data")
    monkeypatch.setattr(features, "mean_seconds", lambda recordings: 3600.0)
    with pytest.raises(
        UsageError, match=r"features of 24 recordings .* --feature-storage two-byte"
    ):
        step(tmp_path, 1, "--disk", "100")
    assert not (tmp_path / "exp/features").exists()
    with pytest.raises(UsageError, match=r"statistics of 12 .* the limit is 1: give `disk`"):
        step(corpus, 3, "--rank", "120", "--disk", "1")
    assert not (corpus / "exp/ivector/tv/fold0").exists()
    with pytest.raises(UsageError, match="scores of fold0 would take"):
        monkeypatch.setattr(trials, "_lines", lambda path: 10**6)
        gmm_scores(corpus, "--disk", "1")


def test_length_is_told_from_headers(corpus):
    recordings = list(read_data_dir(corpus / "data/wav").recordings())
    assert features.mean_seconds(recordings) == pytest.approx(3.0, abs=0.01)
    assert features.mean_seconds([("a", "none.wav", 1.0, 3.5)]) == 2.5
    assert features.mean_seconds([("a", "none.wav", None, None)]) == 0


def test_estimates_of_disk_are_not_too_low(corpus, monkeypatch):
    """Of features and statistics, and not far too high."""
    asked = {}
    for module in (features, total_variability):

        def note(folder, n_bytes, limit, what, cure="", module=module):
            asked[module] = n_bytes

        monkeypatch.setattr(module, "require_disk", note)
    written = 0
    rename = os.replace

    def count(source, target):
        nonlocal written
        written += Path(source).stat().st_size
        rename(source, target)

    again(corpus, 1)
    size = sum(path.stat().st_size for path in (corpus / "exp/features").glob("*.ark"))
    assert size < asked[features] < 1.5 * size
    monkeypatch.setattr(os, "replace", count)
    monkeypatch.setattr(checkpoint, "WORTH_S", 0.0)  # as where an iteration takes long
    again(corpus, 3)
    assert 0.5 * written < asked[total_variability] < 2 * written


def test_statistics_are_compressed_and_nearly_the_same(corpus):
    vectors = []
    for options in ([], ["--statistics-dtype", "float16"]):
        again(corpus, 3, *options)
        again(corpus, 4, *options)
        table = read_vectors(corpus / "exp/ivector/ivectors/fold0/ivectors.npz")
        vectors.append(np.stack(list(table.values())))
    assert not np.array_equal(*vectors)
    error = np.sqrt(np.mean((vectors[0] - vectors[1]) ** 2)) / vectors[0].std()
    assert error < 0.02


def test_groups_depend_on_the_corpus_alone():
    few = total_variability.groups(range(640))
    assert [len(shards) for _, shards in few] == [1] * 10
    many = total_variability.groups(range(1_100_000))
    assert len(many) == 269
    assert sum(len(shard) for _, shards in many for shard in shards) == 1_100_000


@pytest.mark.parametrize("kind", ["s", "as"])
def test_scores_in_blocks(corpus, monkeypatch, kind):
    """Little memory: cohort scores and models in several blocks, the same scores."""
    found = []
    for memory in (2048, 1):
        little_memory(monkeypatch, memory)
        gmm_scores(corpus, "--score-norm", kind, "--memory", str(memory))
        found.append((corpus / "exp/gmm-ubm/scores/fold0/scores").read_text().split())
    assert found[0][0::3] == found[1][0::3]
    scores = [np.array(words[2::3], float) for words in found]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-4)


def little_memory(monkeypatch, memory):
    """Have a MiB hold less than this corpus, as it does of others."""
    monkeypatch.setattr(gmm_ubm, "MODEL_BYTES", 40 if memory > 1 else 400)
    monkeypatch.setattr(trials, "MIB", 2**20 if memory > 1 else 400)


@pytest.mark.parametrize(("kind", "what"), [("zt", "with 3 cohort models"), ("as2", "of .* enrol")])
def test_norms_that_take_the_cohort_whole_are_refused_where_it_does_not_fit(
    corpus, monkeypatch, kind, what
):
    def refuse(n_bytes, limit_mb, what, cure):
        raise UsageError(what)

    gmm_scores(corpus, "--score-norm", kind)
    little_memory(monkeypatch, 1)
    monkeypatch.setattr(trials, "require_memory", refuse)
    with pytest.raises(UsageError, match=f"{kind}-norm {what}"):
        gmm_scores(corpus, "--score-norm", kind, "--memory", "1")


def test_memory_is_refused_before_the_stage_begins(corpus):
    with pytest.raises(UsageError, match=r"at rank 300 needs .* MiB .* the limit is 10: give"):
        step(corpus, 3, "--rank", "300", "--memory", "10")
    with pytest.raises(UsageError, match=r"full UBM of 4000 components needs .* fewer components"):
        step(corpus, 2, "--num-components", "4000", "--memory", "100")
    assert not list((corpus / "exp/ivector").rglob(".*"))


def test_a_ubm_is_taken_with_the_memory_that_its_refusal_names(tmp_path):
    def check(memory):
        given = SimpleNamespace(num_components=64, covariance="full", memory=memory, disk=0)
        ubm.check_budget(SimpleNamespace(values=given), 60, tmp_path)

    with pytest.raises(UsageError, match="the limit is 3: give `memory`") as refusal:
        check(3)
    named = int(re.search(r"`memory` (\d+)", str(refusal.value))[1])
    check(named)
    with pytest.raises(UsageError):
        check(named - 1)


def test_a_silent_file_is_not_taken_for_samples_in_one(tmp_path):
    silence = 3e-6 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(tmp_path / "a.wav", silence, 8000, subtype="FLOAT")
    extract = features.Extractor(
        {"sample_frequency": 8000}, {"vad_energy_threshold": 5.5}, tmp_path, tmp_path, strict=True
    )
    [(_, remarks, _, _)] = extract((0, [("a", str(tmp_path / "a.wav"), None, None)]))
    assert "as good as silent" in remarks and "no voiced frame" in remarks
