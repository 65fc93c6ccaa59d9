"""Submissions to tiny-voxceleb: one file of dev and eval in the lists' order, by any system."""

import numpy as np
import pytest

from fusion import OperatingPoints
from ivector.base.cli import run
from recipes import submit

N_SPEAKERS = 10


@pytest.fixture
def folder(tmp_path):
    """Lists, and scores of a network and of i-vectors that err independently, the first less."""
    rng = np.random.default_rng(3)
    utts = [f"id{s}/v{u}/0000{u}" for s in range(N_SPEAKERS) for u in range(4)]
    pairs = [(a, b) for i, a in enumerate(utts) for b in utts[i + 1 :]]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    target = np.array([a[:3] == b[:3] for a, b in pairs])
    dev = [*zip(target, pairs)]
    dev.append(dev[0])  # a trial may be listed twice
    hidden = [(None, (f"{i:032x}", f"{i + 1:032x}")) for i in range(50, 30, -1)]
    for name, rows in (("dev", dev), ("eval", hidden)):
        lines = (f"{-1 if t is None else int(t)} {a} {b}\n" for t, (a, b) in rows)
        (tmp_path / f"{name}.list").write_text("".join(lines))
    (tmp_path / "utt2spk").write_text("".join(f"{u} {u[:3]}\n" for u in utts))
    for system, noise in (("net", 1.0), ("ivector", 1.2)):
        (tmp_path / system).mkdir()
        for name, rows in (("dev", dict.fromkeys(dev)), ("eval", hidden)):
            lines = []
            for truth, (a, b) in rows:
                score = rng.normal(2.0 * bool(truth), noise)
                lines.append(f"{score:.6f} {a} {b}" if system == "net" else f"{a} {b} {score:.6f}")
            rng.shuffle(lines)
            file = f"{name}.txt" if system == "net" else f"scores{'-eval' * (name == 'eval')}"
            (tmp_path / system / file).write_text("\n".join(lines) + "\n")
    return tmp_path


def call(folder, *words):
    lists = [f"--list={name}={folder / f'{name}.list'}" for name in ("dev", "eval")]
    systems = [f"{name}={folder / name}" for name in ("net", "ivector")]
    where = ["--utt2spk", str(folder / "utt2spk"), "--out", str(folder / "out")]
    return run(submit.make_parser(), submit.main, [*systems, *words, *lists, *where])


def read(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return np.array([float(row[0]) for row in rows]), [row[1:] for row in rows]


def error_rate(path, labels):
    scores = read(path)[0][: len(labels)]
    return OperatingPoints(scores[labels], scores[~labels]).eer()


def test_dev_and_eval_are_one_file_in_the_lists_order(folder, capsys):
    assert call(folder, "--submit", "fusion") == 0
    listed = [line.split() for name in ("dev", "eval")
              for line in (folder / f"{name}.list").read_text().splitlines()]  # fmt: skip
    labels = np.array([row[0] == "1" for row in listed if row[0] != "-1"])
    out = folder / "out"
    for name in ("net", "ivector", "best", "fusion", "submission"):
        scores, pairs = read(out / f"{name}.txt")
        assert pairs == [row[1:] for row in listed]
        assert 0 <= scores.min() < scores.max() <= 1
    for name in ("dev", "eval"):
        assert (out / f"{name}.txt").read_text() == (out / "fusion" / f"{name}.txt").read_text()
    assert (out / "submission.txt").read_bytes() == (out / "fusion.txt").read_bytes()
    assert (out / "best.txt").read_bytes() == (out / "net.txt").read_bytes()
    rates = {n: error_rate(out / f"{n}.txt", labels) for n in ("net", "ivector", "fusion")}
    assert rates["fusion"] < rates["net"] < rates["ivector"]
    told = capsys.readouterr().out
    assert f"best single system on dev: net, EER {100 * rates['net']:.2f} %" in told
    assert f"fusion, {len(listed)} trials" in told


def test_eval_takes_no_part_in_learning(folder):
    assert call(folder) == 0
    before = (folder / "out" / "fusion" / "dev.txt").read_bytes()
    lines = [line.split() for line in (folder / "net" / "eval.txt").read_text().splitlines()]
    text = "".join(f"{9 * float(score)} {one} {two}\n" for score, one, two in lines)
    (folder / "net" / "eval.txt").write_text(text)
    assert call(folder) == 0
    assert (folder / "out" / "fusion" / "dev.txt").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--submit", "other"], "--submit: takes net, ivector, best, fusion, not 'other'"),
        (["--list", "test=x"], "--list: takes val, dev, eval"),
        (["best=x"], "SYSTEMS: takes NAME=PATH"),
        (["net=x"], "a name is given twice"),
    ],
)
def test_mistakes(folder, capsys, words, told):
    assert call(folder, *words) == 2
    assert told in capsys.readouterr().err and not (folder / "out").exists()


def test_missing_scores_are_named(folder, capsys):
    (folder / "ivector" / "scores-eval").unlink()
    assert call(folder) == 1
    assert "ivector: holds neither eval.txt nor scores-eval" in capsys.readouterr().err
