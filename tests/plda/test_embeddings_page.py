"""docs/embeddings.md: its commands and its Python run, in order, in an empty folder."""

import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dnn.embedders.front_ends import FRONT_ENDS
from ivector.base.commands import run_command
from plda.commands import COMMANDS
from plda.formats.array_vectors import IDS, VECTORS
from plda.formats.exchange import LAYOUTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embeddings.md"
NETWORKS = "## From a network"


def blocks(of_networks):
    """Kind and text of the page's blocks: of its part on networks, or of all else."""
    parts = re.split(r"^(?=## )", PAGE.read_text("utf-8"), flags=re.M)
    text = "".join(part for part in parts if part.startswith(NETWORKS) == of_networks)
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.S | re.M)


def run_line(line):
    """Run a command in this process; the package and the name of the command."""
    package, command, *words = re.sub(r"^python -m (\w+)\.", r"\1 ", line).split(" ", 2)
    table = importlib.import_module(f"{package}.commands").COMMANDS
    assert run_command(package, table, [command, *shlex.split(*words)]) == 0, line
    return package, command


def test_every_command_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, ran = {}, []
    for kind, code in blocks(of_networks=False):
        if kind == "python":
            exec(compile(code, PAGE.name, "exec"), names)
            continue
        assert kind == "bash"
        ran += map(run_line, code.splitlines())
    assert set(ran) == {("plda", name) for name in COMMANDS if name != "kaldi"}  # has its own page
    told = capsys.readouterr().out
    assert "  chosen" in told and told.endswith("(2, 4) Pipeline\n")
    assert len(Path("scores").read_text().splitlines()) == 80 * 79 // 2


def make_recordings(folder):
    """Speakers of noise in two colours by turns: 12 to learn from, 6 to calibrate by, 6 to test."""
    rng, utt2spk = np.random.default_rng(0), {}
    turns = np.arange(16000) // 1000 % 2
    for speaker in range(24):
        colours = rng.normal(0, 1, (2, 12))
        for number in range(4):
            key = f"s{speaker:02}-{number}"
            own = colours + rng.normal(0, 0.1, colours.shape)
            both = [np.convolve(rng.normal(0, 1, 16000), colour, "same") for colour in own]
            samples = np.choose(turns, both)
            path = folder / "data" / f"{key}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * samples / samples.std(), 16000)
            utt2spk[key] = key[:3]
    lists = {"train_utt2spk": [f"{key} {s}\n" for key, s in utt2spk.items() if s < "s12"]}
    for name, least, most in (("dev", "s12", "s18"), ("eval", "s18", "s24")):
        keys = [key for key, s in utt2spk.items() if least <= s < most]
        label = {True: "target", False: "nontarget"}
        lists[f"{name}_trials"] = [
            f"{a} {b} {label[a[:3] == b[:3]]}\n" for n, a in enumerate(keys) for b in keys[n + 1 :]
        ]
    lists["all_trials"] = lists["dev_trials"] + lists["eval_trials"]
    for name, lines in lists.items():
        (folder / name).write_text("".join(lines))


def test_from_a_network_to_scores(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx_cases import of_features

    monkeypatch.chdir(tmp_path)
    make_recordings(tmp_path)
    of_features("model.onnx")
    first, second = (code.splitlines() for kind, code in blocks(of_networks=True))
    assert [run_line(line) for line in (*first, *second)] == [
        ("dnn", "embed"), ("dnn", "verify"), ("fusion", "calibrate"), ("fusion", "report"),
        ("plda", "train"), ("plda", "score"),
    ]  # fmt: skip
    assert len(Path("llr").read_text().splitlines()) == 24 * 23 // 2
    assert len(Path("plda").read_text().splitlines()) == 24 * 23
    (row,) = json.loads(Path("report.json").read_text())["systems"]
    assert row["eer"]["estimate"] < 0.25 and row["cllr"]["estimate"] < 0.8


def test_page_names_every_front_end():
    page = PAGE.read_text("utf-8")
    for name, front_end in FRONT_ENDS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.M)
        assert all(word in row for word in re.findall(r"[\w-]+ \d[\d.]+", front_end.checked))


def test_page_names_what_is_read_and_written():
    page = PAGE.read_text("utf-8")
    for name in (*IDS, *VECTORS, *LAYOUTS):
        assert f"`{name}`" in page
    for layout in LAYOUTS.values():
        assert all(f"`{file}`" in page for file in layout.files)
