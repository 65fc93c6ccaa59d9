"""docs/embeddings.md: its commands and its Python run, in order, in an empty folder."""

import re
import shlex
from pathlib import Path

from ivector.base.commands import run_command
from plda.commands import COMMANDS
from plda.formats.array_vectors import IDS, VECTORS
from plda.formats.exchange import LAYOUTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embeddings.md"


def test_every_command_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, ran = {}, []
    for kind, code in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M):
        if kind == "python":
            exec(compile(code, PAGE.name, "exec"), names)
            continue
        assert kind == "bash"
        for line in code.splitlines():
            start, command, *words = re.sub(r"^python -m plda\.", "plda ", line).split(" ", 2)
            assert start == "plda"
            assert run_command("plda", COMMANDS, [command, *shlex.split(*words)]) == 0, line
            ran.append(command)
    assert set(ran) == set(COMMANDS) - {"kaldi"}  # which has a page of its own
    told = capsys.readouterr().out
    assert "  chosen" in told and told.endswith("(2, 4) Pipeline\n")
    assert len(Path("scores").read_text().splitlines()) == 80 * 79 // 2


def test_page_names_what_is_read_and_written():
    page = PAGE.read_text("utf-8")
    for name in (*IDS, *VECTORS, *LAYOUTS):
        assert f"`{name}`" in page
    for layout in LAYOUTS.values():
        assert all(f"`{file}`" in page for file in layout.files)
