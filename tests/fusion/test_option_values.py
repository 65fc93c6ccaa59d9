"""Values of options beyond reason: taken or refused in one line by every command over scores."""

import argparse
import importlib

import pytest

from fusion.commands import COMMANDS
from ivector.base.cli import run

VALUES = ["9" * 20, "9" * 5000, "-1", "0", "1", "2.5", "nan", "inf", "-inf", "1e400", "1e-320", "",
          "x", "$$=a", "0.5:1e300:1e-300", "0.5:inf:1", "\ud800", "٣", "1_0"]  # fmt: skip
WORDS = {
    "lint": ["scores", "trials"],
    "evaluate": ["scores", "trials", "--bootstrap", "20"],
    "calibrate": ["scores", "trials", "--folds", "0"],
    "fuse": ["a=scores", "b=scores", "trials", "--folds", "0"],
    "compare": ["a=scores", "b=scores", "--trials", "trials", "--bootstrap", "20"],
    "validate": ["scores", "trials", "--bootstrap", "20", "--folds", "0"],
    "report": ["scores", "trials", "--bootstrap", "20", "--out", "page.html"],
}
PATHS = {"out", "json", "markdown", "model", "det", "roc", "histogram", "tippett", "reliability"}


def cases():
    for name in WORDS:
        parser = importlib.import_module(COMMANDS[name].module).make_parser()
        for action in parser._actions:
            takes = not isinstance(action, argparse._HelpAction) and action.nargs != 0
            # A page takes a second to draw, whatever its title.
            takes = takes and (name != "report" or action.type is not None)
            if action.option_strings and takes and action.dest not in PATHS:
                yield name, action.option_strings[0]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = [(m, t) for m in range(6) for t in range(12)]
    rows = [f"m{m} t{t} {(m == t % 6) * 1.5 + (7 * m + 3 * t) % 11 / 5:.2f}\n" for m, t in pairs]
    labels = [f"m{m} t{t} {'target' if m == t % 6 else 'nontarget'}\n" for m, t in pairs]
    (tmp_path / "scores").write_text("".join(rows))
    (tmp_path / "trials").write_text("".join(labels))


@pytest.mark.parametrize(("name", "option"), [*cases()])
@pytest.mark.filterwarnings("ignore")
def test_any_value_is_taken_or_refused_in_one_line(files, capsys, name, option):
    module = importlib.import_module(COMMANDS[name].module)
    for value in VALUES:
        try:
            status = run(module.make_parser(), module.main, [*WORDS[name], f"{option}={value}"])
        except SystemExit as end:
            status = end.code
        error = capsys.readouterr().err
        assert status in (0, 1, 2), (option, value)
        if status:
            lines = [line for line in error.splitlines() if line.startswith("python -m fusion.")]
            assert len(lines) == 1 and "Traceback" not in error, (value, error)
