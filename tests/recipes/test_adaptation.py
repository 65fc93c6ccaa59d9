"""Back-ends adapted to recordings without labels, if that is worth it: ``run.sh --adapt DIR``."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from step_cases import CORPUS, SMALL, call, places, results, run_stage, run_stages

from ivector.base.errors import DataError
from ivector.data import read_enroll
from plda import adapt_backend
from recipes.engine.settings import read
from recipes.experiment.cohort import LEAST
from recipes.experiment.protocol import Models, read_utt2spk
from recipes.experiment.vectors import read_vectors
from recipes.steps.scores import read_scorer

STAGES = (1, 4, 5, 6, 9)
SYSTEMS = ("--systems", "ivector cosine gmm-ubm-s")
OPTIONS = (*CORPUS, *SMALL, "--dev-folds", "2", *SYSTEMS)
WHOLE = ("--lda-dim", "0")  # nothing is projected away
KINDS = ("adapt", "adapted", "scores", "llr")


@pytest.fixture(scope="session")
def adapted(finished, narrow, tmp_path_factory):
    """The experiment with its back-ends adapted to the narrow band."""
    folder = copied(finished, tmp_path_factory.mktemp("adapted") / "x")
    return run_stages(folder, STAGES, *OPTIONS, *WHOLE, "--nj", "1", "--adapt", str(narrow))


def copied(finished, folder):
    shutil.copytree(finished, folder, symlinks=True, ignore=shutil.ignore_patterns("audio"))
    return folder


def chain(folder, scoring):
    """Transforms and model that score, of a folder of a back-end."""
    scorer = read_scorer({}, folder, "book")
    assert json.loads((folder / "options.json").read_text())["options"]["scoring"] == scoring
    return scorer.transforms, scorer.model


def vectors_of(exp, fold):
    return np.stack(list(read_vectors(exp / f"ivector/adapt/{fold}/ivectors.npz").values()))


def decision(exp, system, fold):
    return json.loads((exp / system / "adapted" / fold / "adaptation.json").read_text())


def test_a_back_end_is_adapted_to_another_band(adapted):
    exp = adapted / "exp"
    for fold in ("fold0", "fold1"):
        found = decision(exp, "ivector", fold)
        assert found["adapts"] and found["centring_gain_per_dimension"] > found["threshold"]
        assert (found["n_vectors"], found["n_dims"], found["means"]) == (20, 8, "moved")
        assert found["shares"] == {"within": 0.1, "between": 0.5}
        before, plda = chain(exp / f"ivector/backend/{fold}", "plda")
        after, model = chain(exp / f"ivector/adapted/{fold}", "plda")
        X = vectors_of(exp, fold)
        np.testing.assert_allclose(after[0].mean_, X.mean(axis=0), rtol=1e-6)
        before.steps.append(("plda", plda))
        wanted = adapt_backend(before, X, "kaldi", within=0.1, between=0.5)[-1]
        np.testing.assert_array_equal(model.psi_, wanted.psi_)
        np.testing.assert_array_equal(model.mean_, wanted.mean_)


def test_the_report_says_what_was_decided(adapted, narrow, tmp_path):
    folder = copied(adapted, tmp_path / "x")
    run_stages(folder, (9, 10), *OPTIONS, *WHOLE, "--nj", "1", "--adapt", str(narrow))
    for name in ("results.md", "report.html"):
        text = (folder / "exp/report" / name).read_text().replace("\\", "")
        assert "ivector, fold1: adapted to 20 recordings of --adapt: centring gains" in text


def test_cosines_are_of_centred_vectors(adapted):
    exp = adapted / "exp"
    found = decision(exp, "cosine", "fold0")
    assert found["adapts"] and found["method"] == "centring" and found["n_dims"] == 8
    after, _ = chain(exp / "cosine/adapted/fold0", "cosine")
    np.testing.assert_allclose(after[0].mean_, vectors_of(exp, "fold0").mean(axis=0), rtol=1e-6)


def test_calibration_learns_from_the_adapted_covariances_and_the_old_means(adapted):
    """Decided as the fold is; the vectors are those of the part's own extractor."""
    exp, home = adapted / "exp", adapted / "exp/development"
    outer, part = decision(exp, "ivector", "fold0"), decision(home, "ivector", "fold0-1")
    assert part.pop("means") == "kept" and outer.pop("means") == "moved" and part == outer
    before, plda = chain(home / "ivector/backend/fold0-1", "plda")
    after, model = chain(home / "ivector/adapted/fold0-1", "plda")
    np.testing.assert_array_equal(after[0].mean_, before[0].mean_)
    np.testing.assert_array_equal(model.mean_, plda.mean_)
    before.steps.append(("plda", plda))
    X = vectors_of(home, "fold0-1")
    wanted = adapt_backend(before, X, "kaldi", within=0.1, between=0.5)[-1]
    np.testing.assert_array_equal(model.psi_, wanted.psi_)
    assert np.abs(model.psi_ - plda.psi_).max() > 0.01
    assert not np.array_equal(X, vectors_of(exp, "fold0"))


@pytest.mark.parametrize("home", ["exp", "exp/development"])
def test_scores_are_those_of_the_adapted_back_end(adapted, home):
    from fusion.formats.files import read_scores

    exp, fold = adapted / home, "fold0" if home == "exp" else "fold0-0"
    vectors = read_vectors(exp / f"ivector/ivectors/{fold}/ivectors.npz")
    given = read_scores(exp / f"ivector/scores/{fold}/scores")
    data = adapted / ("data" if home == "exp" else "exp/development/data")
    enroll = read_enroll(data / fold / "enroll")
    models = Models(given.enrol_ids, [enroll[key] for key in given.enrol_ids])

    def scores(kind):
        scorer = read_scorer(vectors, exp / "ivector" / kind / fold, "book")
        return scorer.matrix(models, given.test_ids)[given.enrol, given.test]

    np.testing.assert_allclose(given.values, scores("adapted"), rtol=1e-5)
    assert np.abs(given.values - scores("backend")).max() > 0.1


def test_the_folder_is_the_cohort_of_what_normalises(adapted, narrow, copy):
    run_stages(copy, (1, 6), *OPTIONS[:-2], *WHOLE, "--systems", "gmm-ubm-s", "--nj", "1",
               "--cohort", str(narrow))  # fmt: skip
    scores = "exp/gmm-ubm-s/scores/fold1/scores"
    assert (copy / scores).read_bytes() == (adapted / scores).read_bytes()


def test_more_processes_make_the_same_bytes(adapted, copy, narrow):
    words = (*OPTIONS, *WHOLE, "--nj", "2", "--adapt", str(narrow))
    run_stages(copy, STAGES, *words)
    for part in ("exp", "exp/development"):
        for folder in (adapted / part).glob("*/*"):
            if folder.name in KINDS:
                again = copy / folder.relative_to(adapted)
                assert results(folder) == results(again), folder


def test_what_is_done_is_left_and_another_folder_is_not(adapted, tmp_path, narrow, capsys):
    folder, mine = tmp_path / "x", tmp_path / "narrow"
    shutil.copytree(adapted, folder, symlinks=True)
    words = (*OPTIONS, *WHOLE, "--nj", "1", "--adapt")
    assert run_stage(folder, "plan", *words, str(narrow)) == 0
    plan = capsys.readouterr().out
    assert f"leave {folder}/exp/ivector/adapted/fold0\n" in plan and "exp/adapt\n" in plan
    shutil.copytree(narrow, mine)
    next(mine.iterdir()).unlink()
    assert run_stage(folder, "plan", *words, str(mine)) == 0
    plan = capsys.readouterr().out
    for kind in ("adapt", "ivector/adapt/fold0", "cosine/adapted/fold0", "ivector/scores/fold1"):
        assert f"run   {folder}/exp/{kind}  # " in plan
    assert f"run   {folder}/exp/development/ivector/adapted/fold1-0  # " in plan
    assert f"leave {folder}/exp/ivector/backend/fold0\n" in plan
    assert run_stage(folder, "plan", *OPTIONS, *WHOLE) == 0
    assert "adapt" not in capsys.readouterr().out.replace(str(folder), "")


def test_the_training_speakers_are_no_other_domain(finished, copy, tmp_path, capsys):
    for fold in (*(copy / "data").glob("fold1"), *(copy / "exp/development/data").glob("fold1*")):
        shutil.rmtree(fold)  # whose trials are of these speakers
    train, given = read_utt2spk(copy / "data/fold0/train.utt2spk"), tmp_path / "train"
    given.mkdir()
    for name in ("wav.scp", "utt2spk"):
        lines = (copy / "data/wav" / name).read_text().splitlines(keepends=True)
        (given / name).write_text("".join(one for one in lines if one.split()[0] in train))
    run_stages(copy, (1, 4, 5, 6), *OPTIONS, "--nj", "1", "--adapt", str(given))
    said = capsys.readouterr().err
    for system in ("ivector", "cosine"):
        assert f"{system}, fold0: not adapted to 16 recordings of --adapt: centring gains -" in said
        assert not decision(copy / "exp", system, "fold0")["adapts"]
        for part in ("exp", "exp/development"):
            for scores in (copy / part / system / "scores").glob("*/scores"):
                now = finished / scores.relative_to(copy)
                assert scores.read_bytes() == now.read_bytes()
    assert said.count("--adapt: centring") == 2  # a line a fold, none of the parts


def test_whatever_the_files_hold_is_taken_or_skipped(copy, narrow, tmp_path, capsys):
    """Noise, a tone, other rates and short sounds are used as they come, the silent is skipped."""
    rng = np.random.default_rng(0)
    tone = 0.3 * np.sin(np.arange(44100) * 0.05)
    sounds = {
        "noise": (0.1 * rng.normal(size=32000), 16000), "tone": (tone, 44100),
        "slow": (0.1 * rng.normal(size=8000), 8000), "short": (tone[:2000], 16000),
        "silent": (np.zeros(16000), 16000), "other": (tone[::-1], 48000),
    }  # fmt: skip
    for name, (samples, rate) in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, rate)
    run_stages(copy, (1, 4, 5), *OPTIONS, *WHOLE, "--nj", "1", "--adapt", str(tmp_path))
    assert "adapted to 5 recordings of --adapt" in capsys.readouterr().err
    assert "adapt:silent.wav" in (copy / "exp/adapt/skipped").read_text()


def test_too_few_recordings_are_refused(copy, narrow, tmp_path):
    for path in sorted(narrow.iterdir())[: LEAST - 1]:
        shutil.copy(path, tmp_path)
    words = (*places(copy), *OPTIONS, "--nj", "1", "--adapt", str(tmp_path))
    with pytest.raises(DataError, match="4 of its recordings can be used, and --adapt takes 5 at"):
        call("1", *words)


def test_an_empty_folder_is_refused(copy, tmp_path):
    with pytest.raises(DataError, match="holds no recordings"):
        call("1", *places(copy), *OPTIONS, "--adapt", str(tmp_path))


def test_the_recordings_of_the_trials_are_refused(copy):
    words = (*places(copy), *OPTIONS, "--nj", "1", "--adapt", str(copy / "data/wav"))
    with pytest.raises(DataError, match=r"32 recordings of --adapt are enrolled or tested"):
        call("1", *words)


def test_who_takes_the_recordings(tmp_path):
    words = ["--systems", "ivector cosine gmm-ubm gmm-ubm-s xvector", "--adapt", str(tmp_path)]
    settings = read(words)
    assert [s for s in settings.systems if settings.adapts(s)] == ["ivector", "cosine", "xvector"]
    assert not settings.takes("gmm-ubm", "adapt") and settings.takes("gmm-ubm-s", "adapt")
    both = read([*words, "--cohort", str(tmp_path)])
    assert both.cohort == "cohort" and not both.takes("gmm-ubm-s", "adapt")
    assert both.takes("gmm-ubm-s", "cohort") and both.takes("ivector", "adapt")
    assert not read([]).adapts("ivector") and read([]).cohort == ""
