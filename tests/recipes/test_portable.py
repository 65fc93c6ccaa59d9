"""--portable true: the same bytes whatever instructions a processor has, or is made to use."""

import os
import subprocess
import sys

import pytest
from step_cases import CORPUS, ROOT, SMALL, own_process, places, results

from ivector.base import portable
from recipes.engine import marks
from recipes.engine.stage import stage, why

# What a processor without wide vectors would run: it changes last digits, by the road it is told.
PLAIN = {
    "NUMBA_CPU_NAME": "nehalem",
    "OPENBLAS_CORETYPE": "Nehalem",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable",
}


def run(folder, environment, *options):
    """Stages 0 to 9 of the classical systems, by a process with this environment."""
    words = (*CORPUS, *SMALL, "--dev-folds", "2", "--stop-stage", "9", "--nj", "1", *options)
    done = subprocess.run(
        ["bash", str(ROOT / "recipes/run.sh"), *places(folder), *words],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = results(folder / "exp")
    return {name: data for name, data in made.items() if not name.startswith("log/")}


@pytest.mark.slow
def test_the_same_bytes_on_every_processor(tmp_path):
    (tmp_path / "other").mkdir()
    here = run(tmp_path, {}, "--portable", "true")
    other = run(tmp_path / "other", PLAIN, "--portable", "true")
    assert here.keys() == other.keys() and len(here) > 30
    assert [name for name in here if here[name] != other[name]] == []


def test_the_command_prints_what_run_sh_sets():
    done = subprocess.run(
        ["bash", "-c", f'eval "$({sys.executable} -m ivector portable)"; env'],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    told = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    wanted = portable.variables()
    assert {name: told.get(name) for name in wanted} == wanted
    assert len(wanted["NPY_DISABLE_CPU_FEATURES"].split()) >= 3


def test_what_was_made_without_is_made_anew(tmp_path, monkeypatch):
    with own_process(), stage(tmp_path / "stage", {"n": 1}):
        pass
    assert why(tmp_path / "stage", {"n": 1}) == []
    monkeypatch.setenv(portable.MARK, "1")
    assert why(tmp_path / "stage", {"n": 1}) == ["--portable changed"]


def test_unfinished_work_of_another_processor_is_said_not_to_go_on(tmp_path, monkeypatch, caplog):
    for processor in ("x86_64 AVX512F", "x86_64 AVX2"):
        monkeypatch.setattr("recipes.engine.stage.cpu", lambda processor=processor: processor)
        monkeypatch.setattr(marks, "cpu", lambda processor=processor: processor)
        with pytest.raises(ZeroDivisionError), own_process(), stage(tmp_path / "s", {}) as work:
            (work / "half").write_text("half")
            raise ZeroDivisionError
    assert ".s.partial: was begun on another processor" in caplog.text
    assert "--portable true" in caplog.text
