"""Scores of trials by embeddings, lists of trials, ``python -m dnn.verify``."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dnn import verify  # noqa: E402
from dnn.data.sources import ArraySource, normalise_frames  # noqa: E402
from dnn.embedding import trials as verification  # noqa: E402
from dnn.embedding.export import save_network  # noqa: E402
from dnn.embedding.extraction import extract, write_vectors  # noqa: E402
from dnn.embedding.trials import Crops, Trial  # noqa: E402
from dnn.models import build  # noqa: E402
from ivector.base.cli import run  # noqa: E402
from ivector.base.errors import DataError, UsageError  # noqa: E402
from ivector.formats.arks import ArkWriter  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return build("resnetse34l", n_features=8, channels=[4] * 4, n_blocks=[1] * 4, embedding_dim=5)


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    lengths = (40, 9, 33, 25, 50, 28)
    frames = [rng.normal(size=(length, 8)).astype(np.float32) for length in lengths]
    return ArraySource([f"u{i}" for i in range(6)], frames)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


class TestScores:
    trials = (Trial("u0", "u1", True), Trial("e", "u3", False), Trial("e", "u0", None))
    enroll = {"e": ["u2", "u4"]}  # noqa: RUF012

    def test_whole_utterances(self, model, source):
        scores = verification.score_trials(model, source, self.trials, self.enroll)
        vectors = extract(model, source)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        average = unit[2] + unit[4]
        wanted = [cosine(unit[0], unit[1]), cosine(average, unit[3]), cosine(average, unit[0])]
        np.testing.assert_allclose(scores, wanted, atol=2e-6)

    def test_crops_are_spread_and_short_utterances_repeated(self, source):
        crops = Crops(source, 3, 21)
        assert len(crops) == 18 and set(crops.lengths) == {21}
        for k, start in enumerate((0, 9, 19)):
            np.testing.assert_array_equal(crops.read(k), source.read(0, start, 21))
        short = source.read(1)
        np.testing.assert_array_equal(crops.read(4), np.concatenate([short, short, short[:3]]))
        np.testing.assert_array_equal(crops.read(4, 5, 10), crops.read(4)[5:15])

    def test_score_of_crops_is_the_mean_of_all_pairs(self, model, source):
        scores = verification.score_trials(
            model, source, self.trials, self.enroll, n_crops=3, crop_frames=20
        )
        vectors = extract(model, Crops(source, 3, 20)).reshape(6, 3, -1)

        def pairs(enrol, test):
            return np.mean([cosine(a, b) for u in enrol for a in vectors[u] for b in vectors[test]])

        wanted = [pairs([0], 1), pairs([2, 4], 3), pairs([2, 4], 0)]
        np.testing.assert_allclose(scores, wanted, atol=2e-6)

    def test_blocks_change_nothing(self, monkeypatch):
        rng = np.random.default_rng(1)
        vectors = rng.normal(size=(7, 4)).astype(np.float32)
        pairs = rng.integers(7, size=(20, 2))
        whole = verification.inner_products(vectors, vectors, pairs)
        monkeypatch.setattr(verification, "TRIALS_AT_ONCE", 3)
        np.testing.assert_array_equal(verification.inner_products(vectors, vectors, pairs), whole)

    def test_what_cannot_be_scored(self, model, source):
        for trials, enroll, said in (
            ([Trial("u0", "zz", None)], None, "utterance zz has no features"),
            ([], None, "no trials"),
            ([Trial("e", "u0", None)], {"e": []}, "enrolment e has no utterances"),
        ):
            with pytest.raises(DataError, match=said):
                verification.score_trials(model, source, trials, enroll)
        with pytest.raises(DataError, match="u9 of the trials has no vector"):
            verification.score_vectors(["u0"], np.ones((1, 2)), [Trial("u0", "u9", None)])
        with pytest.raises(UsageError, match="at least 1"):
            Crops(source, 0, 20)


class TestLists:
    def test_all_layouts_in_the_files_order(self, tmp_path):
        path = tmp_path / "trials"
        path.write_text("1 a/b/1.wav c\n-1 d e.wav\n\n0 a/b/1.wav c\n1 a/b/1.wav c\n")
        assert verification.read_trial_list(path) == [
            ("a/b/1", "c", True), ("d", "e", None), ("a/b/1", "c", False), ("a/b/1", "c", True),
        ]  # fmt: skip
        path.write_text("a b target\na c nontarget\na d\n1 2 target\n")
        labels = [trial.is_target for trial in verification.read_trial_list(path)]
        assert labels == [True, False, None, True]

    @pytest.mark.parametrize("text", ["a b c\n", "a\n", "2 a b\n", "1 a b target\n", "\n"])
    def test_other_lines_are_refused(self, tmp_path, text):
        path = tmp_path / "trials"
        path.write_text(text)
        with pytest.raises(DataError, match="trials"):
            verification.read_trial_list(path)

    def test_scores_first_or_last(self, tmp_path):
        trials = [Trial("a", "b", None), Trial("a", "b", None)]
        for first, wanted in ((True, "0.25 a b\n-1.0 a b\n"), (False, "a b 0.25\na b -1.0\n")):
            verification.write_scores(tmp_path / "s", trials, [0.25, -1.0], score_first=first)
            assert (tmp_path / "s").read_text() == wanted
        with pytest.raises(UsageError, match="1 scores for 2"):
            verification.write_scores(tmp_path / "s", trials, np.ones(1))


class TestVerify:
    @pytest.fixture
    def folder(self, tmp_path, model, source):
        with ArkWriter(tmp_path / "feats") as writer:
            for i, key in enumerate(source.ids):
                writer.write(key, source.read(i))
        (tmp_path / "trials").write_text("1 u0 u2\n0 u4 u5\n-1 u1 u1\n")
        config = {"front_end": verification.BY_FRAME}
        save_network(tmp_path / "run" / "network", model, extra=config)
        return tmp_path

    def call(self, *words):
        return run(verify.make_parser(), verify.main, [str(word) for word in words])

    def test_features_go_in_as_in_training(self, folder, model, source):
        words = ("--trials", folder / "trials", "--out", folder / "s", "--score", "first")
        features = folder / "feats.scp"
        assert self.call(folder / "run", "--features", features, *words) == 0
        trained = ArraySource(source.ids, [normalise_frames(f) for f in source.arrays])
        vectors = extract(model, trained)
        pairs = ((0, 2), (4, 5), (1, 1))
        rows = [line.split() for line in (folder / "s").read_text().splitlines()]
        assert [row[1:] for row in rows] == [[f"u{a}", f"u{b}"] for a, b in pairs]
        wanted = [cosine(vectors[a], vectors[b]) for a, b in pairs]
        np.testing.assert_allclose([float(row[0]) for row in rows], wanted, atol=2e-6)
        for name in ("x.npz", "x.scp"):
            write_vectors(folder / name, source.ids, vectors)
            assert self.call("--vectors", folder / name, *words) == 0
            again = [float(line.split()[0]) for line in (folder / "s").read_text().splitlines()]
            np.testing.assert_allclose(again, wanted, atol=2e-6)

    def test_mistakes(self, folder, capsys):
        words = ("--trials", folder / "trials", "--out", folder / "s")
        vectors = ("--vectors", folder / "x.npz")
        for given, code in (
            ((), 2),
            ((folder / "run",), 2),
            ((folder / "run", *vectors), 2),
            ((*vectors, "--crops", 3), 2),
            (("--vectors", folder / "x.txt"), 2),
            (vectors, 1),
            ((folder / "none", "--features", folder), 1),
        ):
            assert self.call(*given, *words) == code
            assert len(capsys.readouterr().err.strip().splitlines()) == 1
        assert not (folder / "s").exists()

    @pytest.mark.parametrize("front_end", ["other", {"unknown": 1}, 3])
    def test_unknown_front_ends_are_refused(self, folder, front_end):
        with pytest.raises(DataError, match="front_end"):
            verification.open_as_trained({"front_end": front_end}, folder / "feats.scp")
