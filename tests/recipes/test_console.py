"""What a run shows: a line as a stage begins and ends, progress on a terminal, warnings."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from step_cases import CORPUS, ROOT, SMALL, places, recipe, run_stage

from recipes.engine import console
from recipes.engine.console import Console, duration
from recipes.systems import STAGES

OPTIONS = (*CORPUS, *SMALL, "--dev-folds", "2")
IVECTOR = (*CORPUS, *SMALL, "--system", "ivector", "--dev-folds", "0")
TIME = r"\d+(\.\d)? (s|min|h)"
REST = rf"; the rest in about {TIME}"


def told(capsys) -> list[str]:
    """Lines on standard error."""
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def begun(copy) -> Path:
    """The experiment without its vectors, back-ends and scores."""
    for home in (copy / "exp", copy / "exp/development"):
        for kind in ("ivectors", "backend", "scores"):
            for path in list(home.glob(f"*/{kind}")):
                shutil.rmtree(path)
    return copy


@pytest.mark.parametrize("nj", ["1", "2"])
def test_a_stage_has_a_line_as_it_begins_and_one_as_it_ends(begun, capsys, nj):
    assert run_stage(begun, 4, *OPTIONS, "--nj", nj) == 0
    beside = ", 2 side by side" if nj == "2" else ""
    first, last = told(capsys)
    assert first == f"stage  4/10  i-vectors: 6 to make{beside}"
    assert re.fullmatch(rf"stage  4/10  i-vectors: {TIME}, 6 made{REST}", last)
    assert run_stage(begun, 4, *OPTIONS, "--nj", nj) == 0
    assert told(capsys) == ["stage  4/10  i-vectors: done already"]
    shutil.rmtree(begun / "exp/ivector/ivectors/fold1")
    assert run_stage(begun, 4, *OPTIONS, "--nj", nj) == 0
    first, last = told(capsys)
    assert first == "stage  4/10  i-vectors: 1 to make"
    assert re.fullmatch(rf"stage  4/10  i-vectors: {TIME}, 1 made, 5 done already{REST}", last)


def test_a_stage_of_several_groups_of_steps_has_one_line_as_it_begins(tmp_path, capsys):
    """Stage 0 makes the corpus, then cuts its speakers; its time is that of both."""
    assert run_stage(tmp_path, 0, *OPTIONS, "--nj", "2") == 0
    first, last = told(capsys)
    assert first == "stage  0/10  corpus: 1 to make"
    assert re.fullmatch(rf"stage  0/10  corpus: {TIME}, 2 made{REST}", last)


def test_the_time_of_a_stage_is_of_all_its_groups(monkeypatch, capsys):
    clock = iter([100.0, 160.0, 190.0, 190.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    shown = Console(8, 10, [8])
    shown.begin(2, 1)
    shown.begin(2, 1)
    shown.end(4, 0)
    assert told(capsys) == [
        "stage  8/10  embeddings and scores: 2 to make",
        "stage  8/10  embeddings and scores: 90 s, 4 made",
    ]


def test_what_remains_is_told_from_the_stages_that_did_something(monkeypatch, capsys):
    clock = iter([100.0, 130.0, 130.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    shares = [STAGES[number].share for number in (0, 1, 2)]
    monkeypatch.setenv(console.PAST, f"60 {shares[0]}")
    shown = Console(1, 2, [0, 1, 2])
    shown.begin(1, 1)
    shown.end(1, 0)
    rest = 90 * shares[2] / (shares[0] + shares[1])
    assert told(capsys)[-1].endswith(f"; the rest in about {duration(rest)}")
    Console(1, 2, [0, 1, 2]).end(0, 3)
    assert told(capsys) == ["stage  1/2  features: done already"]


def test_progress_is_told_each_minute_without_a_terminal(monkeypatch, capsys):
    clock = {"now": 0.0}
    monkeypatch.setattr(console.time, "monotonic", lambda: clock["now"])
    shown = Console(3, 10, [3])
    shown.begin(4, 2)
    for second in range(0, 200, 10):
        clock["now"] = float(second)
        shown.tell(0, "fold0: EM", second, 200)
        if second == 100:
            shown.finished(1)
    lines = told(capsys)
    assert lines[0] == "stage  3/10  total variability: 4 to make, 2 side by side"
    assert len(lines) == 3  # after 70 and 140 seconds
    assert "0/4" in lines[1] and "fold0: EM 70/200" in lines[1] and "ETA" not in lines[1]
    assert "1/4" in lines[2] and "fold0: EM 140/200" in lines[2]
    assert f"ETA {duration(140 * 3)}" in lines[2]  # three of four jobs are to come


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (101, "2 min"), (5900, "98 min"), (6100, "1.7 h"), (-1, "0 s")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_log_lines_are_shown_with_v_alone(begun, capsys):
    again = ("--stage", "2", "--nj", "2")
    assert run_stage(begun, 2, *IVECTOR, *again) == 0
    lines = told(capsys)
    assert not any(" EM " in line or " INFO " in line for line in lines)
    assert run_stage(begun, 2, *IVECTOR, *again, "-v") == 0
    shown = told(capsys)
    iterations = [line for line in shown if re.search(r"GMM EM \d+/\d+: -\d+", line)]
    assert len(iterations) == 2 * (5 + 2)  # of two folds, diagonal and full
    assert all(re.match(r"\d\d:\d\d:\d\d INFO ", line) for line in iterations)
    # The logs have them in any case.
    for log in ("log/stage2.log", "ivector/ubm/fold1/log"):
        assert "FullGMM EM 2/2" in (begun / "exp" / log).read_text()


def test_a_warning_is_shown_once_and_kept(begun, capsys):
    """The same of two folds is one line; both folds' marks and logs have it."""
    assert run_stage(begun, 4, *IVECTOR) == run_stage(begun, 5, *IVECTOR, "--nj", "1") == 0
    lines = told(capsys)
    (line,) = [line for line in lines if "n_components=4, but 4 classes" in line]
    assert line.startswith("warning: n_components=4")
    for fold in ("fold0", "fold1"):
        log = (begun / f"exp/ivector/backend/{fold}/log").read_text()
        assert len(re.findall(r"WARNING \w+: n_components=4, but 4 classes", log)) == 1


def test_warnings_are_listed_once_more_with_the_results(copy, capsys):
    """Those of all stages of the trials, each once, behind the tables; the page has them, too."""
    assert run_stage(copy, 10, *OPTIONS) == 0
    printed = capsys.readouterr().out
    notes = [line for line in printed.splitlines() if line.startswith("Note: ")]
    assert len(notes) == len(set(notes)) == 3
    assert "Note: only 4 training speakers to learn the fusion from: it is rough" in notes
    assert any(note.startswith("Note: n_components=4, but 4 classes") for note in notes)
    assert printed.index("| ivector") < printed.index(notes[0]) < printed.index("The report: ")
    page = (copy / "exp/report/report.html").read_text(encoding="utf-8")
    assert "only 4 training speakers to learn the fusion from" in page


# On a terminal


@contextlib.contextmanager
def terminal(columns: int = 200):
    """A pseudo-terminal of so many columns: the end for a program, and what reads it."""
    import fcntl
    import pty
    import struct
    import termios

    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = bytearray()

    def read() -> str:
        with contextlib.suppress(OSError):  # once nobody has the other end
            while chunk := os.read(mine, 65536):
                shown.extend(chunk)
        return shown.decode()

    try:
        yield theirs, read
    finally:
        with contextlib.suppress(OSError):
            os.close(theirs)
        os.close(mine)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_bar_and_the_time_that_remains(begun):
    words = [sys.executable, "-m", "recipes.steps", "4", *places(begun), *OPTIONS, "--nj", "1"]
    with terminal(100) as (end, read):
        process = subprocess.Popen(
            words, cwd=ROOT, stderr=end, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(end)
        shown = read()
        assert process.wait() == 0 and process.stdout is not None
        assert process.stdout.read() == b""
        process.stdout.close()
    drawn = [part for part in re.split(r"\r\x1b\[K|\r\n", shown) if part]
    bars = [re.search(r"^stage  4/10  i-vectors  \[(#*)(\.*)\]", line) for line in drawn[:-1]]
    assert len(bars) > 6 and all(bars)
    lengths = [len(bar[1]) for bar in bars if bar]
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[-1] == 20
    assert {len(bar[1]) + len(bar[2]) for bar in bars if bar} == {20}
    assert any(re.search(rf"ETA {TIME}", line) for line in drawn)
    assert all(len(line) < 100 for line in drawn[:-1])
    # One line stays.
    assert re.fullmatch(rf"stage  4/10  i-vectors: {TIME}, 6 made{REST}", drawn[-1])
    assert "to make" not in shown


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_lines_above_the_bar_are_whole(monkeypatch):
    with terminal() as (end, read):
        with open(end, "w", closefd=False) as screen:
            monkeypatch.setattr(sys, "stderr", screen)
            shown = Console(5, 10, [5])
            shown.begin(4, 1)
            shown.finished(0)
            shown.caution("few vectors")
            shown.caution("few vectors")
            shown.finished(1)
            monkeypatch.undo()
        os.close(end)
        text = read()
    assert text.count("warning: few vectors") == 1
    assert "\r\x1b[Kwarning: few vectors\r\n" in text
    assert text.count("\n") == 1


def test_a_mistake_is_the_last_line(copy, capsys):
    (copy / "exp/features/feats.scp").unlink()
    assert recipe("2", *places(copy), *IVECTOR, "--stage", "2") == 1
    lines = told(capsys)
    assert len(lines) == 1 and lines[0].startswith("run.sh: error: ")
