"""docs/scores.md: every command and every Python block of the page runs and prints what it shows.

The blocks run in order in an empty folder. A ```text block after one shows what it prints; a line
"…" in it stands for lines that are left out. After a change of what commands print,

    python tests/fusion/test_tutorial.py --update

writes the outputs of the page, and its pictures, anew; then read the sentences around them.
"""

import contextlib
import difflib
import io
import logging
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fusion.commands import COMMANDS
from ivector.base.commands import run_command

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scores.md"
LEFT_OUT = "…"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
_REAL = re.compile(r"\d+\.\d+")
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d (?=[A-Z])", re.M)


@dataclass
class Step:
    """One block of the page, and the output it shows, which stands at `span` of the page."""

    kind: str
    code: str
    line: int
    shown: str | None = None
    span: tuple[int, int] = (0, 0)


def steps(page):
    """Blocks of a page, each with the output that is shown after it."""
    found = []
    for block in _FENCE.finditer(page):
        kind, code = block.groups()
        if kind == "text" and found and found[-1].shown is None:
            found[-1].shown, found[-1].span = code, block.span(2)
        elif kind in ("bash", "python"):
            found.append(Step(kind, code, page.count("\n", 0, block.start()) + 1))
    return found


class Session:
    """A folder, and the names that Python blocks leave for the next ones."""

    def __init__(self, folder):
        self.folder = folder
        self.names = {"__name__": "tutorial"}

    def run(self, step):
        """Everything that a block prints; raises if a command fails and is not asked how."""
        out = io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(_chdir(self.folder))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(out))
            stack.enter_context(_logs())
            if step.kind == "python":
                exec(compile(step.code, f"{PAGE.name}, line {step.line}", "exec"), self.names)
            else:
                for command in step.code.replace("\\\n", " ").splitlines():
                    self._command(command.strip(), out)
        return _CLOCK.sub("", out.getvalue())

    def _command(self, command, out):
        if not command or command.startswith("#"):
            return
        ours = re.fullmatch(r'python -m fusion\.(\w+)( [^;]*)(; echo "[^"]*")?', command)
        if not ours:
            done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
            out.write(done.stdout + done.stderr)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            return
        words = [word for text in shlex.split(ours[2]) for word in _expanded(text)]
        try:
            code = run_command("fusion", COMMANDS, [ours[1], *words])
        except SystemExit as stop:
            code = stop.code
        if ours[3]:
            out.write(shlex.split(ours[3][1:])[1].replace("$?", str(code)) + "\n")
        else:
            assert code == 0, f"{command}: exit status {code}\n{out.getvalue()}"


def _expanded(word):
    """Files that a pattern of the shell stands for."""
    found = sorted(str(path) for path in Path().glob(word)) if "*" in word else []
    return found or [word]


@contextlib.contextmanager
def _chdir(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _logs():
    """Send log lines to what sys.stderr is now, as a process of its own would."""
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    )
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def same_line(shown, printed):
    """Whether two lines are the same, but for one in the last digit of real numbers."""
    if _REAL.sub("#", shown.rstrip()) != _REAL.sub("#", printed.rstrip()):
        return False
    for a, b in zip(_REAL.findall(shown), _REAL.findall(printed)):
        digits = len(a.partition(".")[2])
        if len(b.partition(".")[2]) != digits or abs(float(a) - float(b)) > 1.01 * 10**-digits:
            return False
    return True


def difference(shown, printed):
    """What an output shows that was not printed, "" if nothing."""
    lines, at = printed.splitlines(), 0
    runs, whole = _runs(shown), LEFT_OUT not in shown.splitlines()
    if whole and len(runs[0]) != len(lines):
        return "".join(difflib.unified_diff(shown.splitlines(True), printed.splitlines(True)))
    for part in runs:
        starts = range(at, len(lines) - len(part) + 1)
        found = [n for n in starts if all(map(same_line, part, lines[n:]))]
        if not found:
            return "\n".join(["not printed here:", *part, "but:", *lines[at:]])
        at = found[0] + len(part)
    return ""


def _runs(shown):
    """Lines that stand together, between those that are left out."""
    runs = [[]]
    for line in shown.splitlines():
        if line == LEFT_OUT:
            runs.append([])
        else:
            runs[-1].append(line)
    return [part for part in runs if part] or [[]]


def refreshed(shown, printed):
    """The output as printed, shortened as it was."""
    if LEFT_OUT not in shown.splitlines():
        return printed
    lines, at, text = printed.splitlines(), 0, []
    for line in shown.splitlines():
        if line == LEFT_OUT:
            text.append(line)
            continue
        after = range(at, len(lines))
        alike = [difflib.SequenceMatcher(None, _words(line), _words(lines[n])) for n in after]
        scores = [matcher.ratio() for matcher in alike]
        if not scores:
            continue
        if not (text and text[-1] != LEFT_OUT):  # else the next line
            at += scores.index(max(scores))
        text.append(lines[at])
        at += 1
    return "\n".join(text) + "\n"


def _words(line):
    """A line without its numbers."""
    return " ".join(re.sub(r"[-+]?\d+(\.\d+)?", "#", line).split())


def pictures(page):
    """Names of the pictures of a page."""
    return re.findall(r"!\[[^\]]+\]\(images/([^)]+)\)", page)


def update():
    """Run the page and write its outputs and pictures anew."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        session, parts, at = Session(Path(folder)), [], 0
        for step in steps(page):
            printed = session.run(step)
            if step.shown is None:
                continue
            parts += [page[at : step.span[0]], refreshed(step.shown, printed)]
            at = step.span[1]
        for name in pictures(page):
            (PAGE.parent / "images").mkdir(exist_ok=True)
            (PAGE.parent / "images" / name).write_bytes((Path(folder) / name).read_bytes())
    PAGE.write_text("".join([*parts, page[at:]]), encoding="utf-8")


TEXT = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
STEPS = steps(TEXT)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return Session(tmp_path_factory.mktemp("tutorial"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"line-{step.line}")
def test_block_runs_and_prints_what_the_page_shows(session, step):
    if ".h5" in step.code:
        pytest.importorskip("h5py")
    printed = session.run(step)
    if step.shown is not None:
        assert not difference(step.shown, printed)


def test_pictures_are_those_that_the_blocks_draw(session):
    for name in pictures(TEXT):
        assert (PAGE.parent / "images" / name).stat().st_size < 200_000
        assert (session.folder / name).exists()


def test_every_command_has_its_place():
    named = {name for step in STEPS for name in re.findall(r"python -m fusion\.(\w+)", step.code)}
    assert named == set(COMMANDS)


def test_numbers_in_the_sentences_are_in_the_blocks():
    blocks = "".join(block.group(2) for block in _FENCE.finditer(TEXT))
    prose = re.sub(r"`[^`]*`|Python ≥ 3.10", "", _FENCE.sub("", TEXT))
    quoted = set(re.findall(r"\d+\.\d+", prose))
    assert quoted <= set(re.findall(r"\d+\.\d+", blocks))


def test_links_within_the_project_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT):
        assert target.startswith("https://") or (PAGE.parent / target).exists(), target
    headings = re.findall(r"^#+ (.*)$", TEXT, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_difference_sees_what_is_not_printed():
    printed = "a 1.25\nb 2.50\nc 3\n"
    assert not difference("a 1.25\nb 2.50\nc 3\n", printed)
    assert not difference("a 1.24\n…\nc 3\n", printed)
    assert not difference("…\nb 2.51\nc 3\n", printed)
    assert difference("a 1.23\n…\n", printed)
    assert difference("a 1.25\n", printed)
    assert difference("a 1.25\nc 3\n…\n", printed)
    assert difference("…\nc 4\n", printed)


def test_refreshed_keeps_how_an_output_is_shortened():
    printed = "head\nx   10.5\ny   11.5\nz 4\nend of 12\n"
    assert refreshed("head\nx 9.5\n…\nend of 3\n", printed) == "head\nx   10.5\n…\nend of 12\n"
    assert refreshed("anything\n", printed) == printed


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("usage: python tests/fusion/test_tutorial.py --update")
    update()
