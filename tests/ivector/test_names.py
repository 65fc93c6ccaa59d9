"""Names that others gave: what reaches terminals, Markdown, HTML and pictures is inert."""

import logging
import sys
import unicodedata

import pytest

from ivector.base.cli import Parser, run
from ivector.base.errors import DataError
from ivector.base.foreign.names import (
    MOST_NAME,
    MOST_SHOWN,
    figure_text,
    html_text,
    markdown_text,
    shown,
)
from ivector.base.log import LINE, LineFormatter

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_no_character_that_cannot_be_seen_is_left():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.category(character) in HIDDEN:
            assert shown(character).isascii(), hex(number)


@pytest.mark.parametrize("text", ["plain", "Zoë 日本 é̀ 😀", "a b\u00a0c", "\\x1b"])
def test_what_can_be_seen_stays(text):
    assert shown(text) == text


def test_escapes_are_readable_and_length_is_bounded():
    assert shown("\x1b]0;t\x07\x9b\u202e\udcff\n\t") == r"\x1b]0;t\x07\x9b\u202e\udcff\n\t"
    assert shown("a\nb\x00", keep="\n") == "a\nb\\x00"
    assert len(shown("x" * 10**6)) == MOST_SHOWN and shown("x" * 10**6).endswith("…")
    assert len(figure_text("x" * 999)) == MOST_NAME


def test_markup_is_text():
    assert html_text('<b a="1">&\x1b') == "&lt;b a=&quot;1&quot;&gt;&amp;\\x1b"
    assert markdown_text("<script>x</script>|[a](javascript:1)\n# b $x$") == (
        r"\<script>x\</script>\|\[a](javascript:1) # b \$x\$"
    )
    assert markdown_text("p < 0.001 [0.1, 0.2] a_b *c*") == "p < 0.001 [0.1, 0.2] a_b *c*"
    assert figure_text("_$\\frac$") == r" _\$\frac\$"


def test_a_log_record_is_one_line():
    record = logging.LogRecord(
        "x", logging.INFO, "", 0, "%s done", ("a\n00:00 INFO \x1b[2J",), None
    )
    line = LineFormatter(LINE).format(record)
    assert line.endswith(r"a\n00:00 INFO \x1b[2J done") and line.isprintable()


def test_commands_print_and_complain_in_what_can_be_seen(capsys):
    parser = Parser(prog="x")
    parser.add_argument("name")

    def main(arguments):
        print(f"name\t{arguments.name}\nline")
        raise DataError(f"{arguments.name}: bad")

    assert run(parser, main, ["\x1b[31m\udcff\n"]) == 1
    out, err = capsys.readouterr()
    assert out == "name\t\\x1b[31m\\udcff\n\nline\n"
    assert err == "x: error: \\x1b[31m\\udcff\\n: bad\n"
    with pytest.raises(SystemExit):
        run(parser, main, ["a", "--\x1bb"])
    assert "\x1b" not in capsys.readouterr().err
