"""Values of options beyond reason: taken or refused in one line by every command over scores."""

import argparse
import importlib
from pathlib import Path

import pytest

from fusion.commands import COMMANDS
from fusion.terminal.inputs import OUTPUTS
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
PATHS = {*OUTPUTS, "model"}


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


@pytest.mark.parametrize("name", [*WORDS])
def test_no_output_takes_the_place_of_an_input_or_of_another_output(files, capsys, name):
    module = importlib.import_module(COMMANDS[name].module)
    parser = module.make_parser()
    outputs = [f"--{one}" for one in PATHS if f"--{one}" in parser.options().values()]
    before = (Path("scores").read_bytes(), Path("trials").read_bytes())
    for option in outputs:
        for path in ("scores", "./trials"):
            assert run(module.make_parser(), module.main, [*WORDS[name], f"{option}={path}"]) == 2
            told = f"{option}: {Path(path)} is already" in capsys.readouterr().err
            assert told or option != "--json"  # other rules may refuse before
    assert before == (Path("scores").read_bytes(), Path("trials").read_bytes())
    if name in ("calibrate", "fuse"):
        words = [*WORDS[name], "--model=new", "--json=new"]
        assert run(module.make_parser(), module.main, words) == 2
        assert "new is already --json" in capsys.readouterr().err


def test_a_list_of_trials_may_come_last_in_compare(files, capsys):
    module = importlib.import_module(COMMANDS["compare"].module)
    words = ["a=scores", "b=scores", "trials", "--bootstrap", "20"]
    assert run(module.make_parser(), module.main, words) == 0
    last = capsys.readouterr().out
    assert run(module.make_parser(), module.main, WORDS["compare"]) == 0
    assert capsys.readouterr().out == last


def test_values_to_explain_are_no_files(capsys):
    module = importlib.import_module(COMMANDS["calibrate"].module)
    with pytest.raises(SystemExit):
        run(module.make_parser(), module.main, ["--explain", "2.3", "scores"])
    assert "goes without files; 'scores' is no number" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in WORDS if name != "lint"])
def test_every_command_takes_the_rule_by_which_ids_tell_speakers(files, capsys, name):
    module = importlib.import_module(COMMANDS[name].module)
    words = [word if word != "0" else "3" for word in WORDS[name]]  # folds are of speakers
    assert run(module.make_parser(), module.main, [*words, "--speaker-ids", "nist"]) == 1
    assert "'t0' is no id as nist has them" in capsys.readouterr().err
