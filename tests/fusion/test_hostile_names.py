"""Hostile names through every command on scores: nothing is obeyed, everything is drawn."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import fusion.calibrate
import fusion.compare
import fusion.evaluate
import fusion.fuse
import fusion.lint
import fusion.report.__main__
from ivector.base.cli import run

PIECES = (
    "\x1b[31m", "\x07", "\x9b2J", "\u202e", "\u2028", "\u200f", "\ufeff", "\udcff", "\x7f",
    "<script>alert(1)</script>", '"><img src=x onerror=y>', "]]>", "&amp;", "$\\frac{1}$", "$$",
    "$x_", "_hidden", "|", "`", "[x](javascript:y)", "\n", "\t", "é日😀", "\\", "%s", "{0}",
)  # fmt: skip
TAGS = {"script", "img"}


def hostile(rng):
    """A name of some pieces in any order; some characters are not for arguments or file names."""
    return "a" * bool(rng.integers(2)) + "".join(rng.choice(PIECES, rng.integers(1, 5)))


class Tags(HTMLParser):
    """Tags of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.names = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.names.update(name for name, _ in attributes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Score files, of which one column of ids is hostile where a line can hold it."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    odd = ["s\x1b[31m1", "s\u202e2", "s<script>3", "s$4$", "s\x9b5", "s6|", "s7`", "s\x078"]
    pairs = [(m, f"{s}-u") for m in odd for s in odd]
    target = [u == f"{m}-u" for m, u in pairs]
    lines = {"trials": [], "one": [], "two": []}
    for (model, test), same in zip(pairs, target):
        lines["trials"].append(f"{model} {test} {'target' if same else 'nontarget'}")
        for name in ("one", "two"):
            lines[name].append(f"{model} {test} {2 * same - 1 + rng.normal():.4f}")
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder


def clean(text):
    assert all(c in "\n" or c.isprintable() or c == "\u00a0" for c in text), ascii(text)


@pytest.mark.parametrize("seed", range(6))
def test_names_are_shown_and_not_obeyed(folder, monkeypatch, capsys, seed):
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(seed)
    first, second, title, note = (hostile(rng) for _ in range(4))
    second = "b" + second
    systems = [f"{first.replace('=', '')}=one", f"{second.replace('=', '')}=two"]
    quick = ["--bootstrap", "30"]
    told = [f"--title={title}", f"--note={note}", f"--command={note}", f"--date={title}"]
    calls = [
        (fusion.lint, ["trials", "one", "two"], 0),
        (fusion.evaluate, [*systems, "trials", *quick, "--llr", "--json", "e.json",
                           "--det", "d.svg", "--roc", "r.png", "--histogram", "h.svg"], 0),
        (fusion.compare, [*systems, "--trials", "trials", *quick, "--markdown", "c.md"], 0),
        (fusion.report.__main__, [*systems, "trials", "--llr", *quick, *told, "--out", "p.html"],
         0),
        (fusion.calibrate, ["no-such-" + first.replace("/", "")], 2),
    ]  # fmt: skip
    for module, arguments, expected in calls:
        try:
            status = run(module.make_parser(), module.main, arguments)
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        assert status == expected, (module.__name__, err)
        clean(out.replace("\t", " "))
        clean(err)
    for path in (folder / "d.svg", *folder.glob("h-*.svg")):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "p.html").read_text(encoding="utf-8")
    clean(page.replace("\t", " "))
    found = Tags(page)
    assert not TAGS & found.tags and not any(name.startswith("on") for name in found.names)
    for part in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    for name in ("c.md", "p.md"):
        text = (folder / name).read_text(encoding="utf-8")
        clean(text)
        lines = [line for line in text.splitlines() if not line.startswith("    ")]
        assert "<script" not in "\n".join(lines).replace("\\<script", "")
        assert "<img" not in "\n".join(lines).replace("\\<img", "")
