"""Commands of Kaldi's names that train: sums add, steps are the library's, mistakes are told."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ivector.base.errors import DataError, UsageError
from ivector.base.kaldi_cli.running import run_program
from ivector.base.tables.holders import HOLDERS, Posteriors
from ivector.base.tables.reading import TableReader
from ivector.base.tables.writing import TableWriter
from ivector.formats.accumulators import read_extractor_accumulators, read_gmm_accumulators
from ivector.formats.extractor import read_extractor, write_extractor
from ivector.formats.gmm import read_diag_gmm, read_full_gmm, write_diag_gmm, write_full_gmm
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.full import FullGMM
from ivector.kaldi.table import PROGRAM
from ivector.statistics.extraction import baum_welch
from ivector.total_variability.model import TotalVariability
from ivector.total_variability.online import OnlineExtractor, conjugate_gradients
from ivector.total_variability.raw_sums import update_from_raw

C, D, R = 4, 3, 3


def run(name, *words):
    run_program(PROGRAM, name, words)


def read(specifier, holder):
    return dict(TableReader(specifier, HOLDERS[holder]))


def write(specifier, entries, holder):
    with TableWriter(specifier, HOLDERS[holder]) as writer:
        for key, value in entries.items():
            writer.write(key, value)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with features of 12 utterances, mixtures of them and their posteriors."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(C, D))
    utterances = {}
    for number in range(12):
        own = centres + rng.normal(size=(C, D))
        labels = rng.integers(C, size=150)
        frames = own[labels] + rng.normal(size=(150, D))
        utterances[f"u{number:02}"] = frames.astype(np.float32)
    write("ark,scp:feats.ark,feats.scp", utterances, "matrix")
    frames = np.concatenate(list(utterances.values()))
    diagonal = DiagonalGMM(C, random_state=0).fit(frames)
    write_diag_gmm("dubm", diagonal)
    write_full_gmm("ubm", FullGMM(init=diagonal, num_gselect=C).fit(frames))
    run("gmm-gselect", "--n=3", "dubm", "ark:feats.ark", "ark:gselect.ark")
    words = ["ubm", "ark:feats.ark", "ark,s,cs:gselect.ark", "ark:post.ark"]
    run("fgmm-global-gselect-to-post", "--min-post=0.02", *words)
    return utterances


def halves():
    """Lists of the first and the second half of the utterances."""
    lines = open("feats.scp").read().splitlines()
    for name, part in (("1", lines[:6]), ("2", lines[6:])):
        open(f"feats.{name}.scp", "w").write("\n".join(part) + "\n")


@pytest.mark.parametrize(("kind", "model"), [("gmm", "dubm"), ("fgmm", "ubm")])
def test_em_of_mixtures_in_parts(world, kind, model):
    """Accumulated in parts, summed and estimated, it is what the library does at once."""
    halves()
    for part in "12":
        words = ["--gselect=ark:gselect.ark", model, f"scp:feats.{part}.scp", f"{part}.acc"]
        run(f"{kind}-global-acc-stats", *words)
    run(f"{kind}-global-sum-accs", "--binary=false", "acc", "1.acc", "2.acc")
    run(f"{kind}-global-est", "--min-gaussian-occupancy=5", model, "acc", "new")
    reader = read_diag_gmm if kind == "gmm" else read_full_gmm
    gmm, selected = reader(model), read("ark:gselect.ark", "selected")
    frames = np.concatenate(list(world.values()))
    total = gmm.accumulate(frames, np.concatenate([selected[key] for key in world]))
    ours = read_gmm_accumulators("acc")
    np.testing.assert_allclose(ours.second, total.second, rtol=1e-5, atol=1e-2)
    for is_, should in zip(reader("new").parameters(), gmm.update(total).parameters()):
        np.testing.assert_allclose(is_, should, rtol=1e-4, atol=1e-4)


def test_em_of_an_extractor_in_parts(world):
    """Init, three iterations in parts, extraction: the objective rises, and as in the library."""
    halves()
    run("ivector-extractor-init", f"--ivector-dim={R}", "ubm", "0.ie")
    values = []
    for step in range(3):
        for part in "12":
            words = [f"{step}.ie", f"scp:feats.{part}.scp", "ark:post.ark", f"{part}.acc"]
            run("ivector-extractor-acc-stats", "--num-threads=2", *words)
        run("ivector-extractor-sum-accs", "1.acc", "2.acc", "acc")
        words = ["--gaussian-min-count=10", f"{step}.ie", "acc", f"{step + 1}.ie"]
        run("ivector-extractor-est", *words)
        raw = read_extractor_accumulators("acc")
        values.append(raw.evidence / raw.zeroth.sum())
    assert values == sorted(values) and raw.n_utterances == 12

    post = read("ark:post.ark", "posteriors")
    model = read_extractor("0.ie")
    stats = baum_welch(
        model, world.values(), posteriors=[post[k] for k in world], second_order=True
    )
    library = TotalVariability(R, n_iter=3, warm_start=True, gaussian_min_count=10)
    library.set_subspace(model.subspace())
    library.fit(stats)
    np.testing.assert_allclose(values, library.objective_, rtol=1e-5)
    write_extractor("library.ie", library)
    for name in ("3", "library"):
        run("ivector-extract", f"{name}.ie", "ark:feats.ark", "ark:post.ark", f"ark:{name}.ark")
    ours, theirs = (read(f"ark:{name}.ark", "vector") for name in ("3", "library"))
    for key in world:
        np.testing.assert_allclose(np.abs(ours[key]), np.abs(theirs[key]), atol=5e-3)


def test_without_variances_these_stay(world):
    run("ivector-extractor-init", f"--ivector-dim={R}", "ubm", "0.ie")
    words = ["0.ie", "ark:feats.ark", "ark:post.ark", "acc"]
    run("ivector-extractor-acc-stats", "--update-variances=false", "--compute-auxf=false", *words)
    raw = read_extractor_accumulators("acc")
    assert raw.second is None and raw.evidence == 0
    updated = update_from_raw(read_extractor("0.ie").subspace(), raw)
    np.testing.assert_array_equal(updated.precision, read_extractor("0.ie").precisions_)


@pytest.mark.golden
def test_posteriors_of_kaldi_give_the_statistics_of_the_mixture(golden):
    """Those of its post.ark, and of the library's own posteriors."""
    feats = read(f"ark:{golden}/ubm/feats.ark", "matrix")
    post = read(f"ark:{golden}/ie/post.ark", "posteriors")
    ubm = read_full_gmm(golden / "ubm/final.ubm")
    given = baum_welch(ubm, feats.values(), posteriors=[post[key] for key in feats])
    own = baum_welch(ubm, feats.values(), num_gselect=8, min_post=0.025)
    np.testing.assert_allclose(given.zeroth, own.zeroth, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(given.first, own.first, rtol=1e-5, atol=5e-3)


def test_posteriors_that_do_not_belong_are_refused(world):
    ubm, post = read_full_gmm("ubm"), read("ark:post.ark", "posteriors")
    X, given = list(world.values()), [post[key] for key in world]
    with pytest.raises(UsageError, match="fewer utterances"):
        baum_welch(ubm, X, posteriors=given[1:])
    with pytest.raises(DataError, match=r"posteriors of 149 frames .* features of 150"):
        baum_welch(ubm, X, posteriors=[tuple(part[1:] for part in given[0]), *given[1:]])


def test_speakers_pool_their_utterances(world, caplog):
    run("ivector-extractor-init", f"--ivector-dim={R}", "ubm", "0.ie")
    write("ark:spk2utt", {"s": ["u00", "u01"], "t": ["u02", "x"], "v": ["y"]}, "words")
    words = ["0.ie", "scp:feats.scp", "ark:post.ark", "ark:s.ark"]
    run("ivector-extract", "--spk2utt=ark:spk2utt", "--max-count=200", *words)
    found = read("ark:s.ark", "vector")
    assert list(found) == ["s", "t"]
    assert "v: no utterance has features and posteriors" in caplog.text
    both = {"s": np.concatenate([world["u00"], world["u01"]])}
    post = read("ark:post.ark", "posteriors")
    width = max(post[key].posts.shape[1] for key in ("u00", "u01"))
    padded = [
        [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in post[key]]
        for key in ("u00", "u01")
    ]
    write("ark:b.ark", both, "matrix")
    joined = Posteriors(*(np.concatenate(parts) for parts in zip(*padded)))
    write("ark:bp.ark", {"s": joined}, "posteriors")
    run("ivector-extract", "--max-count=200", "0.ie", "ark:b.ark", "ark:bp.ark", "ark:o.ark")
    np.testing.assert_allclose(found["s"], read("ark:o.ark", "vector")["s"], atol=1e-4)


def test_what_cannot_be_done_is_told(world, caplog):
    run("ivector-extractor-init", f"--ivector-dim={R}", "ubm", "0.ie")
    post = read("ark:post.ark", "posteriors")
    few = {"u00": post["u00"], "u01": Posteriors(*(part[:-1] for part in post["u01"]))}
    write("ark:few.ark", few, "posteriors")
    run("ivector-extract", "0.ie", "ark:feats.ark", "ark:few.ark", "ark:out")
    assert list(read("ark:out", "vector")) == ["u00"]
    assert "u01: 150 frames, and posteriors of 149; left out" in caplog.text
    assert "u02: no posteriors; left out" in caplog.text

    write(
        "ark:far.ark", {"u00": post["u00"]._replace(indices=post["u00"].indices + C)}, "posteriors"
    )
    with pytest.raises(DataError, match=r"u00: posteriors name Gaussian \d of an extractor with 4"):
        run("ivector-extract", "0.ie", "ark:feats.ark", "ark:far.ark", "ark:out2")
    write("ark:wide.ark", {"u00": np.zeros((150, D + 1))}, "matrix")
    with pytest.raises(DataError, match="u00: has 4 features, the extractor is for 3"):
        run("ivector-extract", "0.ie", "ark:wide.ark", "ark:post.ark", "ark:out2")
    with pytest.raises(DataError, match=r"u00: .* 4 features"):
        run("gmm-gselect", "--n=2", "dubm", "ark:wide.ark", "ark:out2")
    assert not os.path.exists("out2")
    run("gmm-global-acc-stats", "dubm", "ark:feats.ark", "d.acc")
    with pytest.raises(DataError, match=r"d\.acc: is of a diagonal mixture"):
        run("fgmm-global-est", "ubm", "d.acc", "new")
    with pytest.raises(DataError, match=r"d\.acc"):
        run("ivector-extractor-est", "0.ie", "d.acc", "1.ie")
    for options in (["--num-threads=0"], ["--max-count=-1"], ["--acoustic-weight=0"]):
        with pytest.raises(UsageError):
            run("ivector-extract", *options, "0.ie", "ark:feats.ark", "ark:post.ark", "ark:out3")


def test_damaged_accumulators_are_told(world):
    run("gmm-global-acc-stats", "dubm", "ark:feats.ark", "acc")
    content = open("acc", "rb").read()
    for cut in (0, 9, 40, len(content) - 30):
        open("cut", "wb").write(content[:cut])
        with pytest.raises(DataError, match=r"^cut"):
            read_gmm_accumulators("cut")
    with pytest.raises(DataError, match=r"^acc"):
        read_extractor_accumulators("acc")


def test_a_mixture_from_nothing(world):
    words = ["--num-gauss=5", "--num-gauss-init=2", "--num-iters=12", "--min-gaussian-occupancy=3"]
    run("gmm-global-init-from-feats", *words, "ark:feats.ark", "new")
    frames = np.concatenate(list(world.values()))
    new = read_diag_gmm("new")
    assert len(new.weights_) == 5
    assert new.score(frames) > DiagonalGMM(1).fit(frames).score(frames) + 0.5
    run(
        "gmm-global-init-from-feats",
        *words,
        "--num-frames=300",
        "--srand=3",
        "ark:feats.ark",
        "few",
    )
    assert abs(read_diag_gmm("few").score(frames) - new.score(frames)) < 1
    with pytest.raises(UsageError, match="--num-iters, --num-frames and --num-gauss"):
        run("gmm-global-init-from-feats", "--num-iters=0", "ark:feats.ark", "none")


def test_posteriors_are_scaled(world):
    run("scale-post", "ark:post.ark", "0.5", "ark:half.ark")
    write("ark:scales", {"u00": 2.0, "u01": 0.0}, "real")
    run("scale-post", "ark:half.ark", "ark:scales", "ark:again.ark")
    post, again = read("ark:post.ark", "posteriors"), read("ark:again.ark", "posteriors")
    np.testing.assert_array_equal(again["u00"].posts, post["u00"].posts)
    assert list(again) == ["u00", "u01"] and not again["u01"].posts.any()
    with pytest.raises(UsageError, match="<scale> is a number or a table"):
        run("scale-post", "ark:post.ark", "much", "ark:x")


def test_likelihoods_of_selected_gaussians(world):
    run("gmm-gselect", "--n=99", "--write-likes=ark,t:likes", "dubm", "ark:feats.ark", "ark:all")
    likes, gmm = read("ark:likes", "real"), read_diag_gmm("dubm")
    for key, frames in world.items():
        assert likes[key] == pytest.approx(gmm.score_samples(frames).sum(), rel=1e-5)
    run("copy-gselect", "--n=1", "ark:all", "ark,t:best")
    best = read("ark:best", "selected")["u00"][:, 0]
    np.testing.assert_array_equal(best, gmm.predict(world["u00"]))


def test_models_pass_through_standard_streams(world):
    python = f"{sys.executable} -m ivector.kaldi"
    line = (
        f"{python} gmm-global-to-fgmm dubm - | {python} fgmm-global-to-gmm - - | "
        f"{python} gmm-global-copy --binary=false - again"
    )
    subprocess.run(line, shell=True, check=True)
    for is_, should in zip(read_diag_gmm("again").parameters(), read_diag_gmm("dubm").parameters()):
        np.testing.assert_allclose(is_, should, rtol=1e-5)


def test_online_i_vectors_end_where_the_others_are(world):
    """With every frame, the last is that of the utterance."""
    run("ivector-extractor-init", f"--ivector-dim={R}", "ubm", "0.ie")
    words = ["0.ie", "ark:feats.ark", "ark:post.ark"]
    run("ivector-extract-online", "--ivector-period=1", "--num-cg-iters=-1", *words, "ark:o.ark")
    run("ivector-extract", *words, "ark:i.ark")
    online, whole = read("ark:o.ark", "matrix"), read("ark:i.ark", "vector")
    for key in world:
        np.testing.assert_allclose(online[key][-1], whole[key], rtol=1e-3, atol=1e-3)
        assert len(online[key]) == 150
    with pytest.raises(UsageError, match=r"period. is at least 1"):
        OnlineExtractor(read_extractor("0.ie").subspace(), period=0)


def test_conjugate_gradients_solve():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6))
    A = A @ A.T + np.eye(6)
    b = rng.normal(size=6)
    np.testing.assert_allclose(conjugate_gradients(A, b, np.zeros(6), 6), np.linalg.solve(A, b))
    assert np.any(conjugate_gradients(A, b, np.zeros(6), 1) != np.linalg.solve(A, b))
