"""Users' mistakes and damaged files: one line that says what is wrong, and nothing lost."""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from shard_jobs import die
from step_cases import FEATURES, ROOT, run_step, run_steps

from ivector.base import cli
from ivector.base.errors import DataError
from ivector.base.kaldi import read_vectors
from ivector.base.shards import map_shards
from plda.formats.vectors import read_ids_vectors
from recipes import inner_folds, prepare, select
from recipes.engine.stage import stage

STEPS = {
    "features": FEATURES,
    "ubm": "--num-components 4 --num-iters-diag 2 --covariance diagonal",
    "total_variability": "--rank 4 --num-iters 1",
    "ivectors": "",
    "backend": "",
    "scores": "",
    "report": "--bootstrap 0",
}
UBM = "exp/ivector/ubm/fold0"


run = partial(run_step, STEPS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small experiment with all stages done."""
    return run_steps(STEPS, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def broken(finished, tmp_path) -> Path:
    """A copy to break; moved, so that its lists of archives name another folder."""
    shutil.copytree(finished, tmp_path / "x", symlinks=True)
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
        ("exp/features/feats.0.ark", cut, "ubm", "feats.0.ark: has .* bytes.*--stage 1"),
        ("exp/features/feats.0.ark", Path.unlink, "ivectors", "feats.0.ark: is gone.*--stage 1"),
        ("exp/features/utt2num_voiced", garble, "ubm", "utt2num_voiced: was changed.*--stage 1"),
        ("exp/features/done.json", cut, "ubm", "stage 1 has not finished.*--stage 1"),
        (f"{UBM}/final.npz", garble, "total_variability", "final.npz: was changed.*--stage 2"),
        (f"{UBM}/front_end.json", cut, "total_variability", "front_end.json: has.*--stage 2"),
        ("exp/ivector/tv/fold1/final.npz", cut, "ivectors", "final.npz: has.*--stage 3"),
        ("exp/ivector/tv/fold0/options.json", Path.unlink, "ivectors", "is gone.*--stage 3"),
        ("exp/ivector/ivectors/fold0/ivectors.npz", cut, "backend", "ivectors.npz.*--stage 4"),
        ("exp/ivector/backend/fold0/plda.npz", Path.unlink, "scores", "is gone.*--stage 5"),
        ("exp/ivector/scores/fold0/scores", cut, "report", "scores: has.*--stage 6"),
    ],
)
def test_damage_is_noticed_by_the_next_stage(broken, complaint, file, damage, step, said):
    damage(broken / file)
    assert run(broken, step, "--force") == 1
    line = complaint()
    assert re.search(said, line), line
    assert not list(broken.rglob(".*"))


@pytest.mark.parametrize("damage", [cut, garble, Path.unlink])
def test_damaged_stage_is_made_again_to_the_same_bytes(broken, finished, damage):
    damage(broken / UBM / "final.npz")
    assert run(broken, "ubm") == 0
    assert (broken / UBM / "final.npz").read_bytes() == (finished / UBM / "final.npz").read_bytes()


def test_moved_experiment_reads_its_own_archives(broken, finished):
    """The copy's lists still name the archives of the original."""
    assert str(finished) in (broken / "exp/features/feats.scp").read_text()
    hidden = finished / "exp/features"
    hidden.rename(finished / "exp/elsewhere")
    try:
        assert run(broken, "ivectors", "--force") == 0
    finally:
        (finished / "exp/elsewhere").rename(hidden)


def test_models_of_other_features_are_refused(broken, complaint, tmp_path):
    text = (ROOT / "recipes/conf/mfcc_8k.conf").read_text().replace("=20\n", "=13\n")
    (tmp_path / "mfcc.conf").write_text(text)
    assert run(broken, "features", "--mfcc-config", str(tmp_path / "mfcc.conf")) == 0
    assert run(broken, "total_variability") == 1
    assert "fold0: stages before it were run anew since; run with --stage 2" in complaint()


def test_models_of_another_training_list_are_refused(broken, complaint):
    listed = broken / "data/fold0/train.utt2spk"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    for step in ("total_variability", "ivectors"):
        assert run(broken, step) == 1
        assert "ubm/fold0: stages before it were run anew since; run with --stage 2" in complaint()


def test_vectors_of_another_extractor_are_refused(broken, complaint):
    assert run(broken, "total_variability", "--rank", "3") == 0
    for step in ("backend", "scores"):
        assert run(broken, step) == 1
        assert "ivectors/fold0: stages before it were run anew" in complaint()


def test_scores_of_another_backend_are_not_reported(broken, complaint):
    assert run(broken, "backend", "--plda-smoothing", "0.5") == 0
    assert run(broken, "report") == 1
    assert "no scores of the present lists and back-end; run with --stage 6" in complaint()


def test_training_speakers_are_cut_in_a_linked_folder(tmp_path):
    assert prepare.cli([*"synthetic --speakers 8 --sessions 2 --out".split(), str(tmp_path)]) == 0
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b/c")
    out = tmp_path / "link/development"
    given = ["--data", str(tmp_path), "--out", str(out), "--num-folds", "2"]
    for _ in range(2):
        assert cli.run(inner_folds.build_parser(), inner_folds.main, given) == 0
        assert (out / "wav/wav.scp").is_file()
        (out / "wav").unlink()
        (out / "wav").symlink_to("nowhere")  # as after the data were moved


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--dev-folds 1", "--dev-folds is 0 for neither calibration nor fusion, or at least 2"),
        ("--plda-smoothing 7", "--plda-smoothing takes numbers from 0 to 1, got '7'"),
        ("--fusion-prior 1", "--fusion-prior takes numbers from"),
        ("--fusion-ridge -1", "--fusion-ridge takes numbers from"),
        ("--systems ivector --fusion-systems xvector", "'xvector' is not one of --systems"),
        ("--config CONF", "give them as --corpus and --system"),
    ],
)
def test_run_sh_refuses_at_once(tmp_path, options, said):
    (tmp_path / "my.conf").write_text("system=gmm-ubm\n")
    words = options.replace("CONF", str(tmp_path / "my.conf")).split()
    command = ["bash", ROOT / "recipes/run.sh", "--data", tmp_path / "d", "--exp", tmp_path / "e"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("run.sh: error: ") and said in done.stderr
    assert not (tmp_path / "d").exists()


def test_replaced_recording_is_read_again(broken):
    wav = broken / "data/wav/wav.scp"
    lines = wav.read_text().splitlines()
    new = broken / "new.wav"
    soundfile.write(new, 0.1 * np.random.default_rng(0).normal(size=16000), 8000)
    utt = lines[0].split()[0]
    wav.write_text("\n".join([f"{utt} {new}", *lines[1:]]) + "\n")
    assert run(broken, "features") == 0
    before = (broken / "exp/features/utt2num_voiced").read_text()
    soundfile.write(new, 0.1 * np.random.default_rng(0).normal(size=24000), 8000)
    assert run(broken, "features") == 0
    assert (broken / "exp/features/utt2num_voiced").read_text() != before


def test_segments_are_utterances_of_their_recordings(broken):
    folder = broken / "data/wav"
    utts = [line.split()[0] for line in (folder / "utt2spk").read_text().splitlines()]
    (folder / "segments").write_text("".join(f"{utt} {utt} 0.5 1.5\n" for utt in utts))
    assert run(broken, "features") == 0
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
    assert run(broken, "ubm") == 1
    line = complaint()
    assert f"fold0/{file}" in line or "fold0/trials" in line
    assert said in line


def test_carriage_returns_are_no_part_of_ids(broken):
    for path in (broken / "data").glob("fold*/*"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for name in list(STEPS)[1:]:
        assert run(broken, name) == 0


def test_trials_without_labels_have_scores_but_no_error_rates(broken, complaint):
    for path in (broken / "data").glob("fold*/trials"):
        lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
    assert run(broken, "ivectors") == 0 and run(broken, "backend") == 0
    assert run(broken, "scores") == 0
    for bootstrap in ("0", "20"):
        assert run(broken, "report", "--bootstrap", bootstrap) == 1
        assert "have an unknown label" in complaint()


@pytest.mark.parametrize(
    ("step", "options", "said"),
    [
        ("features", "--nj 0", "--nj: takes whole numbers of at least 1, not '0'"),
        ("features", "--seed -1", "--seed: takes whole numbers of at least 0"),
        ("features", "--system ../x", "--system: takes a name without blanks or slashes"),
        ("features", "--channel left", "--channel: takes 0, 1, ... or mean, not 'left'"),
        ("ubm", "--num-components many", "at least 1, not 'many'"),
        ("ubm", "--memory 0", "--memory"),
        ("total_variability", "--rank 0", "--rank"),
        ("total_variability", "--num-iters 0", "--num-iters"),
        ("total_variability", "--min-post nan", "at least 0 and at most 0.5, not 'nan'"),
        ("backend", "--plda-smoothing 3", "at least 0 and at most 1, not '3'"),
        ("report", "--bootstrap 3", "--bootstrap: takes whole numbers of at least 20"),
        ("report", "--boot 3", "unrecognized arguments: --boot 3"),
    ],
)
def test_options_are_checked_by_name(tmp_path, complaint, step, options, said):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, step, *options.split())
    assert stopped.value.code == 2
    assert said in complaint()


def test_lda_dimension_above_the_rank(broken, complaint):
    assert run(broken, "backend", "--lda-dim", "5") == 2
    assert "--lda-dim 5: the vectors have only 4 dimensions" in complaint()


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
def test_feature_options_name_their_file(finished, complaint, tmp_path, line, said):
    config = tmp_path / "my.conf"
    config.write_text(f"--sample-frequency=8000\n{line}\n")
    assert run(finished, "features", "--mfcc-config", str(config)) == 2
    told = complaint()
    assert said in told and str(config) in told


def test_failed_stage_leaves_the_former_results_alone(tmp_path):
    folder = tmp_path / "stage"
    with stage(folder, {"n": 1}) as work:
        (work / "result").write_text("good")
    with contextlib.suppress(ZeroDivisionError), stage(folder, {"n": 2}) as work:
        (work / "result").write_text("half")
        raise ZeroDivisionError
    assert (folder / "result").read_text() == "good"
    with stage(folder, {"n": 2}) as work:  # the work is there to go on from
        assert work is not None and (work / "result").read_text() == "half"
        (work / "result").write_text("better")
    assert (folder / "result").read_text() == "better"
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_run_killed_between_two_renames_keeps_the_former_results(tmp_path):
    folder = tmp_path / "stage"
    with stage(folder, {}) as work:
        (work / "result").write_text("good")
    folder.rename(tmp_path / ".stage.old")
    (tmp_path / ".stage.partial").mkdir()
    with stage(folder, {}) as work:
        assert work is None
    assert (folder / "result").read_text() == "good"


def test_two_runs_at_once_do_not_mix(tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import sys, time; from pathlib import Path; from recipes.engine.stage import stage\n"
        "with stage(Path(sys.argv[1]), {}):\n    print(flush=True); time.sleep(60)"
    )
    folder = tmp_path / "stage"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline()
    with pytest.raises(DataError, match="another run is at work there"), stage(folder, {}):
        pass
    assert (tmp_path / ".stage.partial").exists()
    other.kill()
    other.wait()
    with stage(folder, {}) as work:
        (work / "result").write_text("good")
    assert json.loads((folder / "done.json").read_text())["files"].keys() == {
        "options.json", "result"
    }  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_killed_worker_is_told_with_its_cure():
    with pytest.raises(DataError, match=r"worker process was killed.*fewer jobs"):
        list(map_shards(die, [1, 2], nj=2))


@pytest.mark.parametrize("text", ["1.5", "x", "", "0", "11"])
def test_whole_numbers(text):
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1 and at most 10"):
        cli.whole(1, 10)(text)


def test_full_disk_and_memory_are_one_line(capsys):
    parser = cli.Parser(prog="x")
    for error, said in (
        (OSError(28, "No space left on device", "/a/b"), "x: error: /a/b: No space left on device"),
        (MemoryError("149 GiB"), "not enough memory (149 GiB); take"),
    ):

        def fail(_, error=error):
            raise error

        assert cli.run(parser, fail, []) == 1
        assert said in capsys.readouterr().err


def test_cut_text_archive_of_vectors(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("a  [ 1 2 ]\nb  [ 3 4")
    with pytest.raises(DataError, match="line 2: expected 'id"):
        read_vectors(path)
    path.write_text("a  [ 1 2 ]\na  [ 3 4 ]\n")
    with pytest.raises(DataError, match="id a occurs twice"):
        read_vectors(path)
    path.write_text("a  [ 1 2 ]\nb  [ 3 nan ]\n")
    with pytest.raises(DataError, match="the vector of b"):
        read_ids_vectors(path)


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
    assert cli.run(select.build_parser(), select.main, [*options, "--lda-dim", "4"]) == 2
    assert "every --lda-dim is as large as every --rank" in complaint()
