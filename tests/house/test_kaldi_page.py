"""docs/kaldi.md lists what the tables of Kaldi's commands declare.

``python tests/house/test_kaldi_page.py --update`` writes its lists anew.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ivector.kaldi.table import PROGRAM as IVECTOR
from plda.kaldi.table import PROGRAM as PLDA

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kaldi.md"
BEGIN, END = "<!-- commands -->\n", "<!-- end of commands -->\n"


def lists():
    """Commands, and options of Kaldi's that are not here."""
    lines = ["| Kaldi's command | ours | what it does |", "|---|---|---|"]
    lacks = ["| option | of | why it is not here |", "|---|---|---|"]
    of_option = {}
    for program in (IVECTOR, PLDA):
        for name, command in program.commands.items():
            ours = f"`python -m {program.package} {name}`"
            lines.append(f"| `{name}` | {ours} | {command.line} |")
            for lack in command.lacks:
                of_option.setdefault((lack.name, lack.why), []).append(f"`{name}`")
    lacks += [f"| `--{name}` | {', '.join(of)} | {why} |" for (name, why), of in of_option.items()]
    return "\n".join([*lines, "", "## Options that are not here", "", *lacks]) + "\n"


def parted():
    """The page before, between and behind the marks."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    inside, _, tail = rest.partition(END)
    return head, inside, tail


def test_the_page_lists_what_the_tables_do():
    assert parted()[1] == lists()


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("usage: python tests/house/test_kaldi_page.py --update")
    head, _, tail = parted()
    PAGE.write_text(head + BEGIN + lists() + END + tail, encoding="utf-8")
