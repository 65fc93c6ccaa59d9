"""Damaged experiments and wrong lists: one line that says what is wrong, and nothing lost."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from step_cases import CORPUS, ROOT, SMALL, run_stage

from ivector.base import cli
from recipes import inner_folds, prepare, select

OPTIONS = (*CORPUS, *SMALL, "--system", "ivector", "--dev-folds", "0", "--nj", "1")
UBM = "exp/ivector/ubm/fold0"


def run(folder: Path, number: int, *options: str) -> int:
    """A stage of the i-vector system; its exit status."""
    return run_stage(folder, number, *OPTIONS, *options)


@pytest.fixture
def broken(finished, tmp_path) -> Path:
    """A copy of the experiment to break, with one system alone."""
    others = shutil.ignore_patterns("audio", "cosine", "gmm-ubm", "fusion", "development")
    shutil.copytree(finished, tmp_path / "x", symlinks=True, ignore=others)
    return tmp_path / "x"


@pytest.fixture
def complaint(capsys):
    """Call it after a command: the one line told on standard error."""

    def read() -> str:
        lines = capsys.readouterr().err.splitlines()
        told = [line for line in lines if ": error: " in line]
        assert len(told) == 1 and not any("Traceback" in line for line in lines)
        return told[0]

    return read


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garble(path: Path) -> None:
    """Another content of the same length."""
    path.write_bytes(bytes(len(path.read_bytes())))


@pytest.mark.parametrize(
    ("file", "damage", "step", "said"),
    [
        ("exp/features/feats.0.ark", cut, 2, "feats.0.ark: has .* bytes.*--stage 1"),
        ("exp/features/feats.0.ark", Path.unlink, 4, "feats.0.ark: is gone.*--stage 1"),
        ("exp/features/utt2num_voiced", garble, 2, "utt2num_voiced: was changed.*--stage 1"),
        ("exp/features/done.json", cut, 2, "stage 1 has not finished.*--stage 1"),
        (f"{UBM}/final.npz", garble, 3, "final.npz: was changed.*--stage 2"),
        (f"{UBM}/front_end.json", cut, 3, "front_end.json: has.*--stage 2"),
        ("exp/ivector/tv/fold1/final.npz", cut, 4, "final.npz: has.*--stage 3"),
        ("exp/ivector/tv/fold0/options.json", Path.unlink, 4, "is gone.*--stage 3"),
        ("exp/ivector/ivectors/fold0/ivectors.npz", cut, 5, "ivectors.npz.*--stage 4"),
        ("exp/ivector/backend/fold0/plda.npz", Path.unlink, 6, "is gone.*--stage 5"),
        ("exp/ivector/scores/fold0/scores", cut, 10, "scores: has.*--stage 6"),
    ],
)
def test_damage_is_noticed_by_the_next_stage(broken, complaint, file, damage, step, said):
    damage(broken / file)
    assert run(broken, step, "--stage", str(step)) == 1
    line = complaint()
    assert re.search(said, line), line
    assert not list(broken.rglob(".*"))


@pytest.mark.parametrize("damage", [cut, garble, Path.unlink])
def test_damaged_stage_is_made_again_to_the_same_bytes(broken, finished, damage):
    damage(broken / UBM / "final.npz")
    assert run(broken, 2) == 0
    assert (broken / UBM / "final.npz").read_bytes() == (finished / UBM / "final.npz").read_bytes()


def test_moved_experiment_reads_its_own_archives(broken, finished):
    """The copy's lists still name the archives of the original."""
    assert str(finished) in (broken / "exp/features/feats.scp").read_text()
    hidden = finished / "exp/features"
    hidden.rename(finished / "exp/elsewhere")
    try:
        assert run(broken, 4, "--stage", "4") == 0
    finally:
        (finished / "exp/elsewhere").rename(hidden)


def test_models_of_other_features_are_refused(broken, complaint, tmp_path):
    text = (ROOT / "recipes/conf/mfcc_8k.conf").read_text().replace("=20\n", "=13\n")
    (tmp_path / "mfcc.conf").write_text(text)
    assert run(broken, 1, "--mfcc-config", str(tmp_path / "mfcc.conf")) == 0
    assert run(broken, 3) == 1
    assert "fold0: stages before it were run anew since; run with --stage 2" in complaint()


def test_models_of_another_training_list_are_refused(broken, complaint):
    listed = broken / "data/fold0/train.utt2spk"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    for step in (3, 4):
        assert run(broken, step) == 1
        assert "ubm/fold0: stages before it were run anew since; run with --stage 2" in complaint()


def test_vectors_of_another_extractor_are_refused(broken, complaint):
    assert run(broken, 3, "--rank", "7") == 0
    for step in (5, 6):
        assert run(broken, step) == 1
        assert "ivectors/fold0: stages before it were run anew" in complaint()


def test_scores_of_another_backend_are_not_reported(broken, complaint):
    assert run(broken, 5, "--plda-smoothing", "0.5") == 0
    assert run(broken, 10) == 1
    assert "no scores of the present lists and back-end; run without --stage" in complaint()


def test_training_speakers_are_cut_in_a_linked_folder(tmp_path):
    assert prepare.cli([*"synthetic --speakers 8 --sessions 2 --out".split(), str(tmp_path)]) == 0
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b/c")
    out = tmp_path / "link/development"
    given = ["--data", str(tmp_path), "--out", str(out), "--num-folds", "2"]
    for _ in range(2):
        assert cli.run(inner_folds.make_parser(), inner_folds.main, given) == 0
        assert (out / "wav/wav.scp").is_file()
        (out / "wav").unlink()
        (out / "wav").symlink_to("nowhere")  # as after the data were moved


def test_replaced_recording_is_read_again(broken):
    wav = broken / "data/wav/wav.scp"
    lines = wav.read_text().splitlines()
    new = broken / "new.wav"
    soundfile.write(new, 0.1 * np.random.default_rng(0).normal(size=16000), 8000)
    utt = lines[0].split()[0]
    wav.write_text("\n".join([f"{utt} {new}", *lines[1:]]) + "\n")
    assert run(broken, 1) == 0
    before = (broken / "exp/features/utt2num_voiced").read_text()
    soundfile.write(new, 0.1 * np.random.default_rng(0).normal(size=24000), 8000)
    assert run(broken, 1) == 0
    assert (broken / "exp/features/utt2num_voiced").read_text() != before


def test_segments_are_utterances_of_their_recordings(broken):
    folder = broken / "data/wav"
    utts = [line.split()[0] for line in (folder / "utt2spk").read_text().splitlines()]
    (folder / "segments").write_text("".join(f"{utt} {utt} 0.5 1.5\n" for utt in utts))
    assert run(broken, 1) == 0
    counts = (broken / "exp/features/utt2num_voiced").read_text().splitlines()
    assert len(counts) == len(utts) and all(int(line.split()[1]) <= 101 for line in counts)


def edit(old: str, new: str):
    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def add(line: str):
    return lambda path: path.write_text(path.read_text() + line)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("trials", edit("s0000 ", "nobody "), "trials:1: nobody is not in enroll"),
        ("trials", edit(" s0000-01 ", " nothing "), "trials:1: nothing is not in utt2spk"),
        ("trials", edit(" target", " nontarget"), "trials:1: nontarget, but the speakers are"),
        ("trials", edit(" target", " yes"), "trials:1: the label is 'yes'"),
        ("trials", add("s0000 s0000-01 target\n"), "stands there already, in line 1"),
        ("trials", lambda path: path.write_text(""), "trials: holds no trials"),
        ("trials", lambda path: path.write_text("s0000 s0002-01 nontarget\n"), "no target trials"),
        ("trials", Path.unlink, "trials: missing"),
        ("enroll", edit(" s0000-00", " nothing"), "enroll:1: nothing is not in utt2spk"),
        ("enroll", edit(" s0000-00", " s0000-00 s0002-00"), "utterances of several speakers"),
        ("train.utt2spk", edit("s0001-00", "lost"), "train.utt2spk:1: lost is not in utt2spk"),
        ("train.utt2spk", add("s0001-00 s0003\n"), "stands there already"),
        ("train.utt2spk", lambda path: path.write_text(""), "holds no utterances"),
        ("train.utt2spk", add("s0000-00 s0000\n"), "speaker(s) are in train.utt2spk too"),
    ],
)
def test_folds_are_checked_before_anything_is_trained(broken, complaint, file, change, said):
    change(broken / "data/fold0" / file)
    assert run(broken, 2) == 1
    line = complaint()
    assert f"fold0/{file}" in line or "fold0/trials" in line
    assert said in line


def test_carriage_returns_are_no_part_of_ids(broken):
    for path in (broken / "data").glob("fold*/*"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for step in (2, 3, 4, 5, 6, 10):
        assert run(broken, step) == 0


def test_trials_without_labels_have_scores_but_no_error_rates(broken, complaint):
    for path in (broken / "data").glob("fold*/trials"):
        lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
    assert run(broken, 4) == 0 and run(broken, 5) == 0
    assert run(broken, 6) == 0
    for bootstrap in ("0", "20"):
        assert run(broken, 10, "--bootstrap", bootstrap) == 1
        assert "have an unknown label" in complaint()


def test_lda_dimension_above_the_rank(broken, complaint):
    """As told by the options, and by vectors that were made of a lower rank."""
    assert run(broken, 5, "--lda-dim", "9") == 2
    assert "--lda-dim takes at most the --rank of the i-vectors, 8; got '9'" in complaint()
    assert run(broken, 5, "--lda-dim", "9", "--rank", "20") == 2
    assert "--lda-dim 9: the vectors have only 8 dimensions" in complaint()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--num-ceps=many", "num_ceps must be a number"),
        ("--no-such=3", "MFCC has no option --no-such"),
        ("--snip-edges=maybe", "snip_edges must be true or false, got 'maybe'"),
        ("--sample-frequency=8000.5", "is not a whole number"),
        ("--high-freq=7600", "half of sample_frequency=8000"),
        ("num-ceps=3", "line 2: expected --name=value"),
    ],
)
def test_feature_options_name_their_file(broken, complaint, tmp_path, line, said):
    config = tmp_path / "my.conf"
    config.write_text(f"--sample-frequency=8000\n{line}\n")
    assert run(broken, 1, "--mfcc-config", str(config)) == 2
    told = complaint()
    assert said in told and str(config) in told


def noise(path: Path, n_samples: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=n_samples), 8000)


def test_speaker_with_one_recording_and_dead_links_are_counted(tmp_path, capsys):
    for speaker in range(5):
        for number in range(1 + (speaker != 4)):
            noise(tmp_path / f"corpus/s{speaker}/{number}.wav")
    (tmp_path / "corpus/s0/dead.wav").symlink_to("/no/such/file")
    folder = ["folder", "--corpus-dir", str(tmp_path / "corpus"), "--out", str(tmp_path / "data")]
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("recipes.corpora.common.logger.warning", lambda t, *a: told.append(t % a))
        patch.setattr("recipes.corpora.layout.logger.warning", lambda t, *a: told.append(t % a))
        assert prepare.cli(folder) == 0
    text = "\n".join(told)
    assert "dead.wav: no such file, or a link that leads nowhere" in text
    assert "1 speaker(s) are not tested, for example: speaker s4 has 1" in text
    assert prepare.cli([*folder, "--strict", "--force"]) == 1


def test_recordings_of_one_name_are_named(tmp_path, complaint):
    for speaker in range(4):
        for name in ("a b.wav", "a_b.wav"):
            noise(tmp_path / f"corpus/s{speaker}/{name}")
    folder = ["folder", "--corpus-dir", str(tmp_path / "corpus"), "--out", str(tmp_path / "data")]
    assert prepare.cli(folder) == 1
    told = complaint()
    assert "s0/a b.wav" in told and "s0/a_b.wav" in told and not (tmp_path / "data").exists()


def test_no_combination_of_options_to_select_from(tmp_path, complaint):
    options = ["--data", str(tmp_path), "--features", str(tmp_path), "--rank", "4"]
    assert cli.run(select.make_parser(), select.main, [*options, "--lda-dim", "4"]) == 2
    assert "every --lda-dim is as large as every --rank" in complaint()
