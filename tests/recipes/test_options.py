"""Options of ``run.sh``: every wrong value is refused in one line, before anything is written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from step_cases import ROOT, places, recipe

from ivector.base.errors import UsageError
from recipes.corpora import NAMES
from recipes.engine.options import FILE, FOLDER
from recipes.engine.settings import CONF, TABLE, read
from recipes.steps.features import read_options
from recipes.systems import SYSTEMS

NUMBERS = "whole numbers"
# A command line, and all that the refusal has to say of it: option, value, what is allowed.
WRONG = [
    # What to run
    ("--corpus hike", "--corpus takes one of synthetic, folder, hyke", "'hike'"),
    ("--corpus Synthetic", "--corpus takes one of", "'Synthetic'"),
    ("--corpus-dir 'a\nb'", "--corpus-dir takes the path of a folder", r"'a\nb'"),
    ("--protocol nowhere", "--protocol takes the path of a folder", "'nowhere', and there is none"),
    ("--protocol TMP/my.conf", "--protocol takes the path of a folder", "and there is none"),
    ("--prepare-options=--speekers=3", "--speekers=3", "unrecognized"),
    ("--prepare-options=--speakers=x", "--speakers", "'x'"),
    ("--system gmmubm", "--system takes one of all, ivector, cosine, gmm-ubm", "'gmmubm'"),
    ("--system 'ivector cosine'", "--system takes one of", "'ivector cosine'"),
    ("--system ../x", "--system takes one of", "'../x'"),
    ("--systems 'ivector gmm'", "--systems takes 1 or more of ivector, cosine", "'ivector gmm'"),
    ("--systems 'ivector ivector'", "none twice", "'ivector ivector'"),
    ("--systems=", "--systems takes 1 or more of", "''"),
    ("--stage x", f"--stage takes {NUMBERS} from 0 to 10, or nothing", "'x'"),
    ("--stage 11", f"--stage takes {NUMBERS} from 0 to 10", "'11'"),
    ("--stage -1", f"--stage takes {NUMBERS} from 0 to 10", "'-1'"),
    ("--stop-stage 11", f"--stop-stage takes {NUMBERS} from 0 to 10", "'11'"),
    ("--stop-stage=", f"--stop-stage takes {NUMBERS} from 0 to 10", "''"),
    ("--stage 5 --stop-stage 3", "--stage 5", "--stop-stage 3", "up to that one"),
    ("--resume yes", "--resume takes true or false", "'yes'"),
    ("--keep-finished 1", "--keep-finished takes true or false", "'1'"),
    ("--dry-run=maybe", "--dry-run takes true or false", "'maybe'"),
    ("--strict True", "--strict takes true or false", "'True'"),
    ("--portable 1", "--portable takes true or false", "'1'"),
    ("--seed 99999999999", f"--seed takes {NUMBERS} from 0 to 4294967295", "'99999999999'"),
    ("--seed -1", f"--seed takes {NUMBERS} from 0", "'-1'"),
    ("--seed 1.5", f"--seed takes {NUMBERS} from 0", "'1.5'"),
    ("--data 'a\nb'", "--data takes the path of a folder", r"'a\nb'"),
    ("--exp 'a\nb'", "--exp takes the path of a folder", r"'a\nb'"),
    ("--verbose 2", "--verbose takes true or false", "'2'"),
    # Machine
    ("--nj 0", f"--nj takes {NUMBERS} from 1 to 4096, or nothing: all cores", "'0'"),
    ("--nj two", f"--nj takes {NUMBERS} from 1", "'two'"),
    ("--backend dusk", "--backend takes one of loky, threading, dask", "'dusk'"),
    ("--scheduler tcp://h:1", "--scheduler is of --backend dask", "'tcp://h:1'"),
    ("--scheduler 'a\nb'", "--scheduler takes tcp://HOST:PORT or", r"'a\nb'"),
    ("--memory 0", f"--memory takes {NUMBERS} of at least 1", "'0'"),
    ("--memory 2G", f"--memory takes {NUMBERS} of at least 1", "'2G'"),
    ("--disk -1", f"--disk takes {NUMBERS} of at least 0", "'-1'"),
    # Features
    ("--mfcc-config nowhere.conf", "--mfcc-config takes the path of a file", "'nowhere.conf'"),
    ("--mfcc-config=", "--mfcc-config takes the path of a file", "''"),
    ("--vad-config TMP", "--vad-config takes the path of a file", "and there is none"),
    ("--channel x", "--channel takes 0, 1, ... or mean", "'x'"),
    ("--channel left", "--channel takes 0, 1, ... or mean, or nothing", "'left'"),
    ("--channel 1000", "--channel takes 0, 1, ... or mean", "'1000'"),
    ("--feature-storage float16", "--feature-storage takes one of float32, two-byte", "'float16'"),
    ("--delta-order 11", f"--delta-order takes {NUMBERS} from 0 to 10", "'11'"),
    ("--delta-window 0", f"--delta-window takes {NUMBERS} from 1 to 100", "'0'"),
    ("--normalisation cnm", "--normalisation takes one of", "cmn", "'cnm'"),
    ("--cmn-window 0", f"--cmn-window takes {NUMBERS} from 1 to 1000000", "'0'"),
    # UBM and i-vectors
    ("--num-components many", f"--num-components takes {NUMBERS} from 1", "'many'"),
    ("--num-components 0", f"--num-components takes {NUMBERS} from 1", "'0'"),
    ("--covariance spherical", "--covariance takes one of full, diagonal", "'spherical'"),
    ("--num-iters-diag -1", f"--num-iters-diag takes {NUMBERS} from 0", "'-1'"),
    ("--num-iters-full 1e3", f"--num-iters-full takes {NUMBERS} from 0", "'1e3'"),
    ("--num-gselect 0", f"--num-gselect takes {NUMBERS} from 1", "'0'"),
    ("--min-post 0.6", "--min-post takes numbers from 0 to 0.5", "'0.6'"),
    ("--min-post nan", "--min-post takes numbers from 0 to 0.5", "'nan'"),
    ("--statistics-dtype float64", "takes one of float32, float16", "'float64'"),
    ("--statistics-prune 0.7", "--statistics-prune takes numbers from 0 to 0.5", "'0.7'"),
    ("--rank 0", f"--rank takes {NUMBERS} from 1", "'0'"),
    ("--rank 5O", f"--rank takes {NUMBERS} from 1", "'5O'"),
    ("--num-iters-tv 0", f"--num-iters-tv takes {NUMBERS} from 1", "'0'"),
    ("--tv-init zeros", "--tv-init takes one of random, pca", "'zeros'"),
    ("--parametrisation dehak", "--parametrisation takes one of kaldi, classical", "'dehak'"),
    # Back-end and scores
    ("--lda-dim -1", f"--lda-dim takes {NUMBERS} from 0", "'-1'"),
    ("--lda-dim 60 --rank 50", "--lda-dim takes at most the --rank of the i-vectors, 50", "'60'"),
    ("--total-covariance-factor 1.5", "takes numbers from 0 to 1", "'1.5'"),
    ("--scoring plad", "--scoring takes one of plda, cosine", "'plad'"),
    ("--plda-iters 0", f"--plda-iters takes {NUMBERS} from 1", "'0'"),
    ("--plda-smoothing 7", "--plda-smoothing takes numbers from 0 to 1", "'7'"),
    ("--enrolment mean", "--enrolment takes one of book, average", "'mean'"),
    ("--score-norm q", "--score-norm takes one of none, z, t, zt, s, as", "'q'"),
    ("--cohort nowhere --score-norm s", "--cohort takes the path of a folder", "'nowhere'"),
    ("--cohort TMP", "--cohort normalises scores, but none of ivector", "--score-norm"),
    ("--adapt nowhere", "--adapt takes the path of a folder", "'nowhere'"),
    ("--adapt TMP --systems gmm-ubm", "--adapt adapts back-ends and", "none of gmm-ubm does"),
    ("--score-norm as --cohort-top 1", f"--cohort-top takes {NUMBERS} from 2", "'1'"),
    ("--score-norm s --cohort-top 9", "--cohort-top is of the norms as, as2", "got 9"),
    ("--relevance 1.2.3", "--relevance takes numbers from 0 to 1e+09", "'1.2.3'"),
    ("--relevance inf", "--relevance takes numbers from 0 to 1e+09", "'inf'"),
    ("--relevance 1_6", "--relevance takes numbers from 0", "'1_6'"),
    ("--top-n 0", f"--top-n takes {NUMBERS} from 1", "'0'"),
    # X-vectors
    ("--xvector-config nowhere", "--xvector-config takes the path of a file", "and there is none"),
    ("--xvector-model resnet99", "--xvector-model takes one of", "xvector-small", "'resnet99'"),
    ("--xvector-steps 0", f"--xvector-steps takes {NUMBERS} from 1", "'0'"),
    ("--xvector-threads 0", f"--xvector-threads takes {NUMBERS} from 1 to 1024", "'0'"),
    ("--xvector-frames 100", f"--xvector-frames takes two {NUMBERS} from 15", "'100'"),
    ("--xvector-frames '200 100'", "least and largest", "'200 100'"),
    ("--xvector-frames '10 100'", f"takes two {NUMBERS} from 15", "'10 100'"),
    ("--xvector-frames '20 30 40'", f"takes two {NUMBERS} from 15", "'20 30 40'"),
    ("--xvector-scoring dot", "--xvector-scoring takes one of plda, cosine", "'dot'"),
    ("--xvector-lda-dim -1", f"--xvector-lda-dim takes {NUMBERS} from 0", "'-1'"),
    ("--xvector-plda-smoothing 2", "--xvector-plda-smoothing takes numbers from 0 to 1", "'2'"),
    ("--xvector-norm nonsense", "--xvector-norm takes one of none, z, t, zt, s", "'nonsense'"),
    ("--embedder nowhere", "--embedder takes the path of a file", "and there is none"),
    ("--embedder-front-end mfcc", "--embedder-front-end takes one of wespeaker", "'mfcc'"),
    ("--embedder-rate 999", f"--embedder-rate takes {NUMBERS} from 1000", "'999'"),
    ("--embedder-scoring dot", "--embedder-scoring takes one of plda, cosine", "'dot'"),
    ("--embedder-lda-dim -1", f"--embedder-lda-dim takes {NUMBERS} from 0", "'-1'"),
    ("--embedder-plda-smoothing 2", "--embedder-plda-smoothing takes numbers from 0 to 1", "'2'"),
    ("--embedder-norm nonsense", "--embedder-norm takes one of none, z, t, zt, s", "'nonsense'"),
    ("--device gpu", "--device takes auto, cpu or cuda[:N]", "'gpu'"),
    # Calibration, fusion and report
    ("--dev-folds 1", f"--dev-folds takes 0 or {NUMBERS} from 2 to 1000", "'1'"),
    ("--dev-folds-used 0", f"--dev-folds-used takes {NUMBERS} from 1", "'0'"),
    ("--dev-models 0", f"--dev-models takes {NUMBERS} from 1 to 1000", "'0'"),
    ("--fusion-prior 1", "--fusion-prior takes numbers between 1e-09 and 1", "'1'"),
    ("--fusion-prior 0", "--fusion-prior takes numbers between 1e-09 and 1", "'0'"),
    ("--fusion-ridge -1", "--fusion-ridge takes numbers from 0", "'-1'"),
    ("--fusion-systems gmm", "--fusion-systems takes any of ivector, cosine", "'gmm'"),
    ("--systems ivector --fusion-systems xvector", "--fusion-systems: 'xvector'", "ivector"),
    ("--trust-calibration no", "--trust-calibration takes true or false", "'no'"),
    ("--bootstrap 3", f"--bootstrap takes 0 or {NUMBERS} from 20", "'3'"),
    ("--pooled-only no", "--pooled-only takes true or false", "'no'"),
    # Names and forms
    ("--ranks 3", "unknown option --ranks", "did you mean --rank?"),
    ("--numcomponents 3", "unknown option --numcomponents", "did you mean --num-components?"),
    ("--fusion-pryor=3", "unknown option --fusion-pryor", "did you mean --fusion-prior?"),
    ("--no-such-thing-as-this 3", "unknown option --no-such-thing-as-this", "--help lists"),
    ("--num_components 3", "unknown option --num_components", "write dashes, not underscores"),
    ("--boot 3", "unknown option --boot", "did you mean --bootstrap?"),
    ("rank 3", "unexpected argument 'rank'", "options are --NAME VALUE"),
    ("--nj 2 3", "unexpected argument '3'", "--NAME VALUE"),
    ("-n 3", "unexpected argument '-n'", "--NAME VALUE"),
    ("--", "unexpected argument '--'", "--NAME VALUE"),
    ("--rank", "--rank needs a value"),
    ("--rank --nj 2", "--rank needs a value; if it is '--nj', write --rank=--nj"),
    ("--config", "--config needs a value"),
    # Files of options
    ("--config nowhere.conf", "--config", "nowhere.conf: no such file, or not readable"),
    ("--config TMP", "no such file, or not readable"),
    ("--config TMP/latin.conf", "latin.conf: no such file, or not readable"),
]  # fmt: skip
# The third line of a file, and what the refusal has to say of it beside its name and number.
WRONG_LINES = [
    ("rank 3", "expected name=value", "(the file is read, not run)"),
    ("num-components=3", "expected name=value"),
    ("export rank=3", "expected name=value"),
    ("rank=0", f"rank takes {NUMBERS} from 1", "'0'"),
    ("rank=", f"rank takes {NUMBERS} from 1", "''"),
    ("channel=left", "channel takes 0, 1, ... or mean", "'left'"),
    ("score_norm='x'", "score_norm takes one of none, z", "'x'"),
    ("strict=maybe", "strict takes true or false", "'maybe'"),
    ("mfcc_config=nowhere.conf", "mfcc_config takes the path of a file", "'nowhere.conf'"),
    ("ranks=3", "unknown option 'ranks'", "did you mean rank?"),
    ("no_such_thing_as_this=3", "unknown option 'no_such_thing_as_this'", "--help lists"),
    ("rank=$(touch TMP/hit)", "only a plain or quoted value"),
    ("rank=`touch TMP/hit`", "only a plain or quoted value"),
    ("rank=3; touch TMP/hit", "only a plain or quoted value"),
    ("systems=ivector cosine", "only a plain or quoted value"),
    ("system=gmm-ubm", "give --system on the command line"),
    ("corpus=hyke", "give --corpus on the command line"),
]
BY_SCRIPT = (
    "--rank 0", "--relevance 1.2.3", "--cmn-window 0", "--seed 99999999999", "--channel x",
    "--ranks 3", "--rank", "--stage 5 --stop-stage 3", "--config nowhere.conf", "--score-norm q",
)  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """An empty folder for data and experiment, beside files that options may name."""
    (tmp_path / "my.conf").write_text("rank=8\n")
    (tmp_path / "latin.conf").write_bytes("# für\nrank=8\n".encode("latin-1"))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def words_of(command: str, place: Path) -> list[str]:
    """Words of a command of the tables, after the options of the place."""
    return [*places(place), *shlex.split(command.replace("TMP", str(place.parent)))]


def one_line(text: str) -> str:
    """The refusal, which is all that was said."""
    lines = text.splitlines()
    assert len(lines) == 1 and re.match(r"run\.sh( \w+)?: error: ", lines[0]), text
    return lines[0]


def refused(capsys, *words: str) -> str:
    """The line that a command is refused with, in this process."""
    try:
        status = recipe(*words)
    except SystemExit as stopped:
        status = stopped.code
    told = capsys.readouterr()
    assert status == 2 and told.out == ""
    return one_line(told.err)


def options_of(command: str) -> set[str]:
    """Options that a command of the tables gives."""
    flags = (word.partition("=")[0] for word in shlex.split(command) if word.startswith("--"))
    return {flag[2:].replace("-", "_") for flag in flags} & TABLE.options.keys()


@pytest.mark.parametrize(("command", "said"), [(case[0], case[1:]) for case in WRONG])
def test_wrong_values_are_refused(place, capsys, command, said):
    line = refused(capsys, "check", *words_of(command, place))
    for text in said:
        assert text in line
    if not command.startswith("--prepare-options"):  # only stage 0 takes them
        assert refused(capsys, "3", *words_of(command, place)) == line
    assert not list(place.iterdir())


@pytest.mark.parametrize(("text", "said"), [(case[0], case[1:]) for case in WRONG_LINES])
def test_wrong_lines_of_files_are_refused(place, capsys, text, said):
    path = place.parent / "my.conf"
    path.write_text(f"# Sizes\nnum_components=8\n{text.replace('TMP', str(place.parent))}\n")
    line = refused(capsys, "check", *places(place), "--config", str(path))
    assert f"{path}, line 3" in line
    for part in said:
        assert part in line
    assert not list(place.iterdir()) and not (place.parent / "hit").exists()


def test_every_option_has_a_wrong_value():
    tried = set().union(*(options_of(command) for command, *_ in WRONG))
    assert tried == set(TABLE.options)
    assert len(WRONG) + len(WRONG_LINES) >= 60


@pytest.mark.parametrize("command", BY_SCRIPT)
def test_run_sh_refuses_at_once(place, command):
    """Within two seconds of processor time, as other processes may share the machine."""
    (said,) = [case[1:] for case in WRONG if case[0] == command]
    process = subprocess.Popen(
        ["bash", str(ROOT / "recipes/run.sh"), *words_of(command, place)], cwd=place,
        env={**os.environ, "PYTHON": sys.executable}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    with process.stdout as out, process.stderr as told:
        printed, line = out.read(), one_line(told.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 2 and printed == ""
    for text in said:
        assert text in line
    assert usage.ru_utime + usage.ru_stime < 2
    assert not list(place.iterdir())


def test_options_are_refused_before_the_packages_are_installed(place):
    words = [*places(place), "--scoring", "plda", "--rank", "0"]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "recipes.steps", "check", *words], cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "--rank takes" in one_line(done.stderr)


def test_check_tells_the_shell_what_there_is_to_do(place, capsys):
    assert recipe("check", *places(place), "--systems", "ivector xvector", "--stage", "2") == 0
    told = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    stages = "'2 3 4 5 6 7 8 9 10'"
    assert told == {"needs": "dnn", "stages": stages, "dry_run": "false", "portable": "false"}
    words = "--system gmm-ubm --dev-folds 0 --backend dask --dry-run --portable".split()
    assert recipe("check", *places(place), *words) == 0
    told = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    stages = "'0 1 2 6 10'"
    assert told == {"needs": "scale", "stages": stages, "dry_run": "true", "portable": "true"}
    assert not list(place.iterdir())


# Help


def test_every_option_is_in_the_help_in_its_group(capsys):
    assert recipe("check", "--help") == 3
    told = capsys.readouterr()
    assert told.err == ""
    groups: dict[str, list[str]] = {}
    for line in told.out[told.out.index("\nWhat to run\n") :].splitlines():
        if line and not line.startswith(" "):
            found = groups.setdefault(line, [])
        elif match := re.match(r"  (--[a-z-]+)", line):
            found.append(match[1])
    expected: dict[str, list[str]] = {}
    for option in TABLE.options.values():
        expected.setdefault(option.group, []).append(option.flag)
    assert groups == expected
    flat = " ".join(told.out.split())
    for option in TABLE.options.values():
        assert f"{option.why} [{option.kind.allowed()}]" in flat, option.name


def test_run_sh_prints_its_help(place):
    command = ["bash", str(ROOT / "recipes/run.sh"), "--rank", "0", "--help"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Usage: bash recipes/run.sh") and "--rank" in done.stdout


# Defaults and files of options


@pytest.mark.parametrize("option", TABLE.options.values(), ids=lambda option: option.name)
def test_a_default_is_of_its_own_kind(option):
    value = option.read(option.default)
    if option.kind in (FOLDER, FILE) and option.must_exist and option.default:
        assert (ROOT / value).exists()
    assert option.why and option.group


def test_systems_fix_and_take_options_that_exist():
    values = read([])
    for name, system in SYSTEMS.items():
        for option, text in system.fixed.items():
            assert getattr(values.of[name], option) == TABLE.options[option].read(text)
        for option, other in system.takes.items():
            assert getattr(values.of[name], option) == getattr(values.common, other)


def run_sh_files() -> dict[Path, list[str]]:
    """Files of options that ``run.sh`` reads, and the words that have it read them."""
    found = {}
    for path in sorted((ROOT / "recipes").rglob("*.conf")):
        corpus, _, system = path.stem.partition(".")
        if path.parent == CONF and corpus in NAMES and (not system or system in SYSTEMS):
            found[path] = ["--corpus", corpus]
    for path in (CONF / "kaldi.conf", ROOT / "recipes/cluster/miniature.conf"):
        found[path] = ["--config", str(path)]
    return found


def test_no_file_of_options_is_of_nothing():
    """All others are of features, or of another recipe in their name."""
    for path in set(CONF.glob("*.conf")) - run_sh_files().keys():
        if path.stem in ("mfcc_8k", "mfcc_16k", "vad"):
            assert read_options(path)
        else:
            recipe_name, _, rest = path.stem.partition(".")
            assert rest == "miniature" and (ROOT / f"recipes/{recipe_name}.sh").is_file()


@pytest.mark.parametrize("path", run_sh_files(), ids=lambda path: path.name)
def test_files_of_options_are_read(path):
    settings = read(run_sh_files()[path])
    assigned = re.findall(r"^(\w+)=['\"]?([^'\"#\n]*)", path.read_text(encoding="utf-8"), re.M)
    assert assigned
    system = path.stem.partition(".")[2]
    found = settings.of[system] if system else settings.common
    for name, text in assigned:
        value = getattr(found, name)
        if TABLE.options[name].kind is FILE:
            assert value == ROOT / text.strip()
        else:
            assert value == TABLE.options[name].read(text.strip()), name


def test_later_values_win(tmp_path):
    """Command line over files in their order over the corpus's over the defaults."""
    (tmp_path / "one.conf").write_text("rank=7\nlda_dim=5\nplda_iters=3  # quick\n")
    (tmp_path / "two.conf").write_text("\nlda_dim=\"4\"\nsystems='ivector gmm-ubm'\n")
    words = ["--lda-dim=3", "--config", "one.conf", "--config", "two.conf", "--top-n", "9"]
    values = read([*words, "--corpus", "folder"], tmp_path).common
    assert (values.lda_dim, values.rank, values.plda_iters, values.top_n) == (3, 7, 3, 9)
    assert values.systems == ("ivector", "gmm-ubm")
    assert (values.parametrisation, values.num_components) == ("classical", 32)  # folder.conf
    assert values.num_iters_full == 4  # default
    assert read(["--corpus", "folder"]).of["gmm-ubm-s"].num_components == 256  # its trunk's


def test_flags_need_no_value(tmp_path):
    values = read(["--strict", "--resume", "false", "-v", "--dry-run"]).common
    assert (values.strict, values.resume, values.verbose, values.dry_run) == (
        True, False, True, True
    )  # fmt: skip


def test_relative_paths_begin_where_the_command_is_given(tmp_path):
    """Or in the toolkit, for files that must be there."""
    (tmp_path / "mine").mkdir()
    lines = "mfcc_config=mine/mfcc.conf\nvad_config=recipes/conf/vad.conf\nexp=e\n"
    (tmp_path / "mine/my.conf").write_text(lines)
    (tmp_path / "mine/mfcc.conf").write_text("--num-ceps=13\n")
    values = read(["--config", "mine/my.conf", "--data", "d"], tmp_path).common
    assert (values.data, values.exp) == (tmp_path / "d", tmp_path / "e")
    assert values.mfcc_config == tmp_path / "mine/mfcc.conf"
    assert values.vad_config == ROOT / "recipes/conf/vad.conf"
    values = read([], tmp_path).common
    assert (values.data, values.exp) == (tmp_path / "data/synthetic", tmp_path / "exp/synthetic")
    with pytest.raises(UsageError, match="no such file"):
        read(["--config", "my.conf"], tmp_path)
