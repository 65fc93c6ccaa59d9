"""Normalised scores, Deep Speaker's phases, miniature corpora, trainings, systems' recipes."""

import filecmp
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dnn import deep_speaker  # noqa: E402
from dnn.data.labelled import LabelledSet  # noqa: E402
from dnn.data.sources import ArraySource, normalise_frames  # noqa: E402
from dnn.embedding.export import load_network, read_config, save_network  # noqa: E402
from dnn.embedding.extraction import extract  # noqa: E402
from dnn.embedding.trials import Trial  # noqa: E402
from dnn.formats.shards import read_shards  # noqa: E402
from ivector.base.cli import run  # noqa: E402
from ivector.base.errors import DataError, UsageError  # noqa: E402
from recipes import miniature, normalise_scores, train_embedding  # noqa: E402
from recipes.corpora import librispeech, tiny_voxceleb, voxceleb2  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")
RECIPES = ("deep_speaker", "voxsrc", "tiny_voxceleb")
SMALL = miniature.Sizes(train=3, test=2, sessions=2, utterances=2, seconds=(0.5, 0.7), seed=1)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


class TestNormalised:
    def test_adaptive_s_norm_by_hand(self):
        rng = np.random.default_rng(4)
        vectors = {f"u{i}": rng.normal(size=5) for i in range(12)}
        utt2spk = {f"u{i}": f"s{i % 4}" for i in range(8)}
        trials = [Trial("e", "u8", None), Trial("u9", "u8", True), Trial("u9", "u11", False)]
        enroll = {"e": ["u9", "u10"]}
        scores = normalise_scores.normalised_scores(vectors, utt2spk, trials, enroll, top_n=3)
        unit = {key: v / np.linalg.norm(v) for key, v in vectors.items()}
        cohort = [sum(unit[u] for u in utt2spk if utt2spk[u] == f"s{s}") for s in range(4)]

        def side(vector):
            best = np.sort([cosine(vector, c) for c in cohort])[-3:]
            return best.mean(), best.std()

        for (enrol, test, _), score in zip(trials, scores):
            model = sum(unit[u] for u in enroll.get(enrol, [enrol]))
            raw = cosine(model, unit[test])
            parts = [(raw - mean) / std for mean, std in (side(model), side(unit[test]))]
            assert score == pytest.approx(np.mean(parts), rel=1e-4, abs=1e-4)
        inside = normalise_scores.to_unit_interval(np.array([-30.0, 0.0, 2.0, 40.0]))
        assert 0 < inside[0] < inside[1] == 0.5 < inside[2] < inside[3] < 1

    def test_a_cohort_is_needed(self):
        vectors = {"a": np.ones(2), "b": np.ones(2)}
        trials = [Trial("a", "b", None)]
        with pytest.raises(DataError, match="cohort of 1 speakers"):
            normalise_scores.normalised_scores(vectors, {"a": "s", "x": "t"}, trials)
        with pytest.raises(DataError, match="utterance c of the trials"):
            normalise_scores.normalised_scores(vectors, {}, [Trial("a", "c", None)])


class TestDeepSpeaker:
    @pytest.fixture
    def data(self):
        rng = np.random.default_rng(2)
        arrays = [
            normalise_frames(rng.normal(size=(30, 8)) + np.arange(8) * (i % 3)) for i in range(12)
        ]
        source = ArraySource([f"u{i}" for i in range(12)], arrays)
        return LabelledSet(source, np.arange(12) % 3, ["a", "b", "c"])

    def trainer(self, data, folder, phase, init=None):
        config = deep_speaker.PRESET.config().changed({
            **deep_speaker.of_phase(phase), "model.options": {"channels": (4, 4)},
            "batches.batch_size": 6, "batches.frames": 20, "training.steps": 4,
            "machine.device": "cpu",
        })  # fmt: skip
        if phase == "triplet":
            config = config.changed({"batches.per_speaker": 2})
        return deep_speaker.make_trainer(config, data, folder, init)

    def test_triplets_start_from_softmax(self, tmp_path, data):
        first = self.trainer(data, tmp_path / "softmax", "softmax")
        assert first.fit().finished
        second = self.trainer(data, tmp_path / "triplet", "triplet", init=tmp_path / "softmax")
        for key, weight in first.model.state_dict().items():
            assert torch.equal(weight, second.model.state_dict()[key]), key
        assert second.fit().finished
        assert read_config(tmp_path / "triplet" / "network")["front_end"] == "frames"
        # Both phases' networks are scored alike, one of unit length, one not.
        vectors = [load_network(tmp_path / p / "network") for p in ("softmax", "triplet")]
        norms = [np.linalg.norm(extract(network, data.source), axis=1) for network in vectors]
        np.testing.assert_allclose(norms[1], 1, atol=1e-5)
        assert np.abs(norms[0] - 1).max() > 1e-3

    def test_another_network_is_refused(self, tmp_path, data):
        model = deep_speaker.build_network(n_features=8, channels=(4, 8))
        save_network(tmp_path, model)
        with pytest.raises(DataError, match="give the options that it was trained with"):
            self.trainer(data, tmp_path / "t", "triplet", init=tmp_path)
        with pytest.raises(UsageError, match="a phase is"):
            self.trainer(data, tmp_path / "t", "pairs")

    def test_windows_are_averaged(self):
        torch.manual_seed(0)
        model = deep_speaker.build_network(n_features=24, in_channels=3, channels=(4,))
        model.normalise = False
        features = torch.randn(4, 3, 16, 24)
        labels = torch.tensor([0, 0, 1, 1])
        with torch.no_grad():
            frames = model(features.flatten(0, 1)).unflatten(0, (4, 3)).mean(1).double().numpy()
        unit = frames / np.linalg.norm(frames, axis=1, keepdims=True)
        s = unit @ unit.T
        losses = []
        for a, p in ((0, 1), (1, 0), (2, 3), (3, 2)):
            others = [s[a, n] for n in range(4) if labels[n] != labels[a]]
            below = [v for v in others if v < s[a, p]]
            losses.append(max(0.0, (max(below) if below else min(others)) - s[a, p] + 0.1))
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
        before = [p.detach().clone() for p in model.parameters()]
        value = deep_speaker.triplet_step(model, optimiser, features, labels)
        assert value == pytest.approx(np.mean(losses), abs=1e-5)
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))

    def test_tree_and_table_are_one(self, corpus):
        root = corpus("librispeech")
        tree, speakers = deep_speaker.open_librispeech(root / "LibriSpeech", ["train-clean-100"])
        table, others = deep_speaker.open_librispeech(root / "librispeech.csv", ["train-clean-100"])
        assert speakers == others and len(set(speakers.values())) == 3
        assert tree.ids == table.ids and tree.n_features == 64
        frames = tree.read(0)
        np.testing.assert_array_equal(frames, table.read(0))
        np.testing.assert_allclose(frames.mean(axis=1), 0, atol=1e-4)
        np.testing.assert_allclose(frames.std(axis=1), 1, atol=1e-3)
        with pytest.raises(DataError, match="dev-other"):
            deep_speaker.open_librispeech(root / "librispeech.csv", ["dev-other"])

    def test_command(self, corpus, tmp_path, capsys):
        words = (
            f"--librispeech {corpus('librispeech') / 'LibriSpeech'} --out {tmp_path / 'softmax'}"
        )
        small = "--steps 2 --batch-size 4 --per-speaker 2 --frames 32 --channels 4 --device cpu"

        def call(text):
            parser = deep_speaker.make_parser()
            return run(parser, deep_speaker.main, text.split())

        assert call(f"softmax {words} --sets train-clean-100 {small}") == 0
        assert read_config(tmp_path / "softmax" / "network")["speakers"] == ["1001", "1008", "1015"]
        for wrong in ("softmax --out x --steps 1", f"triplet {words} --steps 1 --utt2spk x",
                      f"triplet {words} --steps 1 --batch-size 5"):  # fmt: skip
            assert call(wrong) == 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Miniature corpora by name, made when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("corpora") / name
            assert miniature.make(name, made[name], SMALL)
        return made[name]

    return get


class TestMiniature:
    def test_librispeech(self, corpus, tmp_path):
        counts = librispeech.prepare(corpus("librispeech"), tmp_path, strict=True)
        assert counts == {"speakers": 5, "utterances": 20, "folds": 1, "trials": 12}
        train = (tmp_path / "fold0" / "train.utt2spk").read_text().split("\n")
        assert train[0] == "1001-120000-0000 1001"
        assert len((tmp_path / "wav" / "spk2gender").read_text().splitlines()) == 5

    def test_voxceleb(self, corpus, tmp_path):
        root = corpus("voxceleb")
        counts = voxceleb2.prepare(
            root / "vox2", tmp_path, test_dir=root / "vox1", trials="O-cleaned", strict=True
        )
        # Pairs of a speaker's utterances of different videos: 2 x 2 for each of two speakers.
        assert counts["speakers"] == 5 and counts["folds"] == 1
        labels = [t.split()[2] for t in (tmp_path / "fold0" / "trials").read_text().splitlines()]
        assert labels.count("target") == 8 and labels.count("nontarget") == 16

    def test_tiny_voxceleb(self, corpus, tmp_path):
        root = corpus("tiny_voxceleb")
        counts = tiny_voxceleb.prepare(root, tmp_path, strict=True)
        assert counts["folds"] == 1
        folds = {p.name for p in (tmp_path / "fold0").iterdir()}
        assert {"trials", "trials-val", "trials-eval"} <= folds
        described = read_shards(root / "shards" / "train")
        assert {r.description["class_idx"] for r in described} == {0, 1, 2}
        trained = {r.speaker for r in described}
        assert not trained & {r.speaker for r in read_shards(root / "shards" / "dev")}
        assert trained == {r.speaker for r in read_shards(root / "shards" / "val")}
        evaluation = (root / "eval_trials_no_gt.txt").read_text().splitlines()
        assert all(line.startswith("-1 ") for line in evaluation)
        names = {name for line in evaluation for name in line.split()[1:]}
        assert names == {r.utterance for r in read_shards(root / "shards" / "eval")}
        assert all(len(name) == 32 for name in names)

    def test_same_seed_same_bytes_whatever_the_jobs(self, corpus, tmp_path):
        root = corpus("librispeech")
        assert miniature.make("librispeech", tmp_path / "again", SMALL, nj=2)
        files = [p.relative_to(root) for p in root.rglob("*") if p.is_file()]
        assert len(files) == 23
        different = filecmp.cmpfiles(root, tmp_path / "again", map(str, files), shallow=False)[1:]
        assert different == ([], [])

    def test_complete_ones_stay_and_other_folders_are_safe(self, corpus, tmp_path):
        root = corpus("librispeech")
        assert not miniature.make("librispeech", root, SMALL)
        (tmp_path / "mine").write_text("precious")
        with pytest.raises(UsageError, match="something else"):
            miniature.make("librispeech", tmp_path, SMALL)
        with pytest.raises(UsageError, match="at least 2"):
            miniature.make("librispeech", tmp_path / "x", SMALL._replace(test=1))
        with pytest.raises(UsageError, match=r"0\.5 s"):
            miniature.make("librispeech", tmp_path / "x", SMALL._replace(seconds=(0.1, 1.0)))


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    """Data directory and lists of the miniature tiny-voxceleb."""
    out = tmp_path_factory.mktemp("tiny")
    tiny_voxceleb.prepare(corpus("tiny_voxceleb"), out, strict=True)
    return out


class TestTraining:
    """``recipes.train_embedding``, on recordings of changed sound."""

    def words(self, prepared, out, n_steps=20):
        return [str(word) for word in (
            "--data", prepared / "wav", "--utt2spk", prepared / "fold0" / "train.utt2spk",
            "--out", out, "--loss", "aam-softmax", "--model", "resnetse34l",
            "--model-option", "channels=[4,4,4,4]", "--model-option", "n_blocks=[1,1,1,1]",
            "--model-option", "embedding_dim=8", "--frames", 30, "--batch-size", 4,
            "--steps", n_steps, "--speeds", "0.9", "1.0", "--augment", "0.8", "--spec-augment",
            "--decay", "0.5", "--decay-every", 1, "--num-mel-bins", 24, "--normalise", "utterance",
            "--device", "cpu",
        )]  # fmt: skip

    def call(self, words):
        return run(train_embedding.make_parser(), train_embedding.main, words)

    def test_terminated_training_resumes_to_the_same_weights(self, prepared, tmp_path, request):
        # One that comes too late shall fail the test, not end it.
        former = signal.signal(signal.SIGTERM, lambda *_: None)
        request.addfinalizer(lambda: signal.signal(signal.SIGTERM, former))
        assert self.call(self.words(prepared, tmp_path / "whole")) == 0
        config = read_config(tmp_path / "whole" / "network")
        # The same speakers at another speed are others.
        assert len(config["speakers"]) == 6 and config["speakers"][3].startswith("sp0.9-id")
        assert config["front_end"]["normalisation"] == "global_cmn"
        folder = tmp_path / "parts"
        scalars = folder / "scalars.jsonl"

        def terminate():
            while not scalars.exists() or not scalars.stat().st_size:
                time.sleep(0.002)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=terminate, daemon=True).start()
        code = self.call(self.words(prepared, folder))
        assert code == 75
        assert not (folder / "network").exists()
        assert self.call(self.words(prepared, folder)) == 0
        weights = "network/network.safetensors"
        assert filecmp.cmp(tmp_path / "whole" / weights, folder / weights, shallow=False)
        records = [json.loads(line) for line in scalars.read_text().splitlines()]
        assert [r["step"] for r in records] == list(range(1, 21))
        # 2 x 3 x (4 - 2) recordings at two speeds: three steps an epoch.
        rates = [r["learning_rate"] for r in records]
        assert rates[0] == 1e-3 and min(rates) < 2e-4

    def test_mistakes(self, prepared, tmp_path, capsys):
        words = self.words(prepared, tmp_path / "x")
        for more in (["--features", "x"], ["--frames", "3", "2"], ["--speeds", "0.9"],
                     ["--trials", "x"], ["--model-option", "x"]):  # fmt: skip
            assert self.call([*words, *more]) == 2
        assert not (tmp_path / "x").exists()


@pytest.mark.skipif(BASH is None, reason="needs bash")
class TestShell:
    def bash(self, *words, **options):
        return subprocess.run(
            [BASH, *map(str, words)], capture_output=True, text=True, timeout=60, **options
        )

    @pytest.mark.parametrize("name", RECIPES)
    def test_help_and_mistakes(self, name, tmp_path):
        script = ROOT / "recipes" / f"{name}.sh"
        told = self.bash(script, "--help", cwd=tmp_path)
        assert told.returncode == 0 and f"recipes/{name}.sh [--miniature]" in told.stdout
        for words in (["--unknown", "1"], ["--miniature", "--stage", "x"], ["stray"]):
            result = self.bash(script, *words, cwd=tmp_path)
            assert (result.returncode, result.stdout) == (2, "")
            assert len(result.stderr.splitlines()) == 1

    @pytest.fixture
    def frame(self, tmp_path):
        script = tmp_path / "voxsrc.sh"  # whose miniature options are then read
        script.write_text(
            "miniature=false stage=0 stop_stage=9 corpus_dir= bootstrap=1000 crops=10 epochs=\n"
            "model_option= batch_size= frames= rate= save_every= crop_frames= threads=\n"
            f'. "{ROOT}/recipes/network.sh" || exit 1\nabsolute corpus_dir\n'
            'echo "$miniature $crops $bootstrap $corpus_dir"\n'
            'trained bash -c "$1"\necho done\n'.replace('"$1"', '"$CHILD"')
        )
        return script

    @pytest.mark.parametrize(
        ("words", "printed"),
        [
            ("", "false 10 1000 "),
            ("--miniature", "true 3 200 "),
            ("--miniature --crops 7 --corpus-dir x", "true 7 200 {here}/x"),
            ("--corpus-dir /x --miniature true", "true 3 200 /x"),
            ("--miniature=false", "false 10 1000 "),
        ],
    )
    def test_options(self, frame, tmp_path, words, printed):
        environment = {**os.environ, "CHILD": "true"}
        result = self.bash(frame, *words.split(), cwd=tmp_path, env=environment)
        wanted = printed.format(here=tmp_path)
        assert result.stdout.splitlines() == [wanted, "done"], result.stderr

    @pytest.mark.parametrize("code", [0, 1, 75])
    def test_status_of_a_training(self, frame, tmp_path, code):
        environment = {**os.environ, "CHILD": f"exit {code}"}
        result = self.bash(frame, cwd=tmp_path, env=environment)
        assert result.returncode == code
        assert ("done" in result.stdout) == (code == 0)
        assert ("resumes" in result.stderr) == (code == 75)

    def test_sigterm_is_passed_on(self, frame, tmp_path):
        child = (
            'trap "echo saved; exit 75" TERM; touch started; for i in {1..400}; do sleep 0.05; done'
        )
        process = subprocess.Popen(
            [BASH, str(frame)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "CHILD": child.replace("started", f"{tmp_path}/started")},
        )  # fmt: skip
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 75
        assert out.splitlines()[-1] == "saved" and "resumes" in err
