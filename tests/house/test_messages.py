"""Advice that can be followed: the options that a message names are of the command that says it.

Messages are the texts of the five packages with a blank in them, and what the shell scripts print.
The library is called by many commands and from Python, so its messages name parameters, in
backticks, which a command writes as its own options (`ivector.base.errors.in_options`). Only
commands, and modules that declare options, name options, and only their own.
"""

import argparse
import ast
import importlib
import re
from pathlib import Path

import pytest

from ivector.base import errors
from ivector.base.cli import Parser, run
from ivector.base.errors import DataError, in_options, set_options
from ivector.kaldi.table import PROGRAM as IVECTOR_PROGRAM
from plda.kaldi.table import PROGRAM as PLDA_PROGRAM
from recipes.corpora import NAMES
from recipes.engine.settings import TABLE
from recipes.prepare import make_parser as make_prepare_parser

TABLES = {
    package: importlib.import_module(f"{package}.commands").COMMANDS
    for package in ("ivector", "plda", "fusion", "dnn", "recipes")
}
EVERY = [(package, name) for package, table in TABLES.items() for name in table]
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ivector", "plda", "dnn", "fusion", "recipes")
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
SCRIPTS = sorted((ROOT / "recipes").glob("*.sh"))
OPTION = re.compile(r"(?<![\w-])--(?:[a-z][\w-]*|\{)")
PARAMETER = re.compile(r"`([A-Za-z]\w*)`")
BARE = re.compile(r"(?<![\w`./'\"])[a-z]+(?:_[a-z0-9]+)+(?![\w`('\"])")
SHAPE = re.compile(r"\([^()]*,[^()]*\)")
UNKNOWN = "{}"  # what is put in when the program runs
RUN = {option.flag for option in TABLE.options.values()} | {"--config", "--help"}
# Texts that are no messages: a style sheet and marks of pages, and lines of other programs.
APART = ("fusion/report/page.py", "fusion/report/svg.py", "recipes/cluster/pipeline.py")


def parser_options(parser):
    """Options of a parser and of those below it."""
    found = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= parser_options(sub)
    return found


def declared(tree):
    """Options that a module's own code adds to a parser."""
    words = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {
        word for word in words if isinstance(word, str) and re.fullmatch(r"--[a-z][\w-]*", word)
    }


def command_options(file):
    """Options of the parser that a module makes, none if it makes none."""
    if not any(
        isinstance(n, ast.FunctionDef) and n.name == "make_parser" for n in FILES[file].body
    ):
        return set()
    module = file.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    module += ".__main__" if file.endswith("/__main__.py") else ""
    try:
        return parser_options(importlib.import_module(module).make_parser())
    except ImportError:
        return None  # an extra that is not installed


def kaldi_options(file):
    """Options that commands of Kaldi's name declare in a module; all of them in their frame."""
    module = file.removesuffix(".py").replace("/", ".")
    return {
        f"--{option.name}"
        for program in (IVECTOR_PROGRAM, PLDA_PROGRAM)
        for command in program.commands.values()
        if file.startswith("ivector/base/kaldi_cli/") or command.function.__module__ == module
        for option in (*command.options, *command.lacks)
    }


def allowed(file):
    """Options that the messages of a module may name, None if nothing can be said."""
    own = command_options(file)
    if own is None:
        return None
    own |= declared(FILES[file]) | kaldi_options(file)
    if file.startswith("recipes/corpora/"):
        return own | PREPARE
    if file.startswith(("recipes/engine/", "recipes/steps/", "recipes/experiment/")):
        return own | RUN
    for command in ONE_COMMAND.get(file, ()):
        own |= command_options(command) or set()
    return own


PREPARE = parser_options(make_prepare_parser())
# Parts of one command alone, whose options they may name.
ONE_COMMAND = {
    "fusion/terminal/fuse_text.py": ["fusion/fuse.py"],
    "fusion/terminal/fuse_guard.py": ["fusion/fuse.py"],
    "fusion/terminal/validate_text.py": ["fusion/validate.py"],
    "fusion/terminal/calibrate_text.py": ["fusion/calibrate.py"],
    "fusion/terminal/partitions.py": ["fusion/evaluate.py"],
    "dnn/configuration/sections.py": ["dnn/train.py"],
}


def messages(tree):
    """Texts of a module with a blank in them, docstrings apart, and their lines."""
    inner, docs = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in node.values)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            docs.add(id(body[0].value))
    for node in ast.walk(tree):
        if id(node) in inner or id(node) in docs:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else UNKNOWN for p in node.values)
            text = "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if " " in text:
            yield node.lineno, text


def named(text):
    """Options that a message names, those of Kaldi and of its configuration files apart."""
    return set(OPTION.findall(re.sub(r"Kaldi's --\S+|--[\w-]+=\S+", "", text))) - {"--{", "--help"}


def parameters():
    """Names of all parameters and fields of the packages, and of the options of run.sh."""
    found = set(TABLE.options)
    for tree in FILES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


@pytest.mark.parametrize("file", [file for file in FILES if file not in APART])
def test_a_message_names_options_of_its_own_command(file):
    known, parameter = allowed(file), parameters()
    if known is None:
        pytest.skip("needs an extra")
    for line, text in messages(FILES[file]):
        odd = named(text) - known
        assert not odd, f"{file}:{line} names {odd}, which it does not declare: {text!r}"
        if known == set():
            assert "--{" not in text, f"{file}:{line} makes an option of a name: {text!r}"
        assert set(PARAMETER.findall(text)) <= parameter, f"{file}:{line}: {text!r}"
        if known == set():
            bare = set(BARE.findall(SHAPE.sub("", text.partition(";")[2]))) & parameter
            assert not bare, f"{file}:{line} advises {bare} without backticks: {text!r}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_names_options_that_there_are(path):
    """Its own, which are its variables in lower case, or those of run.sh and recipes.prepare."""
    text = path.read_text(encoding="utf-8")
    own = {
        f"--{name.replace('_', '-')}" for name in re.findall(r"^([a-z]\w*)=", text, re.MULTILINE)
    }
    for line in text.splitlines():
        if re.search(r"\b(?:echo|printf|fail|_po_fail)\b", line):
            odd = named(line) - own - RUN - {"--help"}
            assert not odd, f"{path.name} names {odd}: {line}"


def helps(parser):
    """Help of the options of a parser and of those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from helps(sub)
        elif action.help and action.help != argparse.SUPPRESS:
            yield action.help


@pytest.mark.parametrize(("package", "name"), EVERY)
def test_help_names_options_of_its_command(package, name):
    parser = importlib.import_module(TABLES[package][name].module).make_parser()
    for text in [*helps(parser), str(parser.description), str(parser.epilog)]:
        assert named(text) <= parser_options(parser), text


def test_help_of_run_names_options_of_it():
    for option in TABLE.options.values():
        assert named(option.why) <= RUN, option.name


def test_a_command_writes_parameters_as_its_options(capsys):
    def main(arguments):
        raise DataError("give a smaller `top_n`, `n_bootstrap`=20 or `n_iter`=2")

    names = {"n_bootstrap": "--bootstrap", "n_iter": "--steps"}  # of which it has the first
    parser = Parser(prog="python -m test", parameters=names)
    parser.add_argument("--top-n")
    parser.add_argument("--bootstrap")
    assert run(parser, main, []) == 1
    said = capsys.readouterr().err
    assert "give a smaller --top-n, --bootstrap=20 or n_iter=2 (in Python)" in said


def test_from_python_a_message_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(errors, "_options", {})
    assert in_options("a smaller `top_n`") == "a smaller `top_n`"
    set_options({"top_n": "--top-n"})
    assert in_options("a smaller `top_n`") == "a smaller --top-n"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("a `top_n` b: is damaged", ["a `top_n` b"]),
        ("x/`top_n`: is damaged", ["--out=./x/`top_n`"]),
        ("/corpus/a `top_n` b.wav: is damaged", []),  # of a list
        ("`top_n`: is damaged", ["`top_n`"]),
        ("`top_n`.wav: is damaged", []),
        ("2 scores lack a trial, first 'a `top_n`' (s, line 3)", []),
        ('2 scores lack a trial, first "a\'s `top_n`" (s, line 3)', []),
    ],
)
def test_a_name_of_the_user_comes_out_as_it_was(message, words, monkeypatch):
    monkeypatch.setattr(errors, "_options", {})
    monkeypatch.setattr(errors, "_pattern", errors._pattern)
    set_options({"top_n": "--top-n"}, words)
    advice = "take the class's `top_n`=2, or less"
    assert in_options(f"{message}; {advice}") == f"{message}; take the class's --top-n=2, or less"


def test_options_of_sub_commands_and_configurations_count():
    options = make_prepare_parser().options()
    assert options["corpus_dir"] == "--corpus-dir" and len(NAMES) > 1
    assert options["nj"] == "--nj"


def test_wrong_advice_is_found():
    tree = ast.parse("def f(x):\n    raise ValueError(f'{x}: use --no-such {x} or --{x}')")
    ((line, text),) = messages(tree)
    assert line == 2 and named(text) == {"--no-such"} and "--{" in text
