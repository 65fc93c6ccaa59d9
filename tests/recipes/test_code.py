"""Digests of the code that a step computes with: what changes them, what does not, what follows."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from step_cases import CORPUS, ROOT, SMALL, own_process, run_stage

from recipes.engine import code, marks
from recipes.engine.stage import stage
from recipes.systems import STAGES

STEPS = sorted({step for one in STAGES for group in one.steps for step in group})
ALONE = ("--system", "ivector", "--dev-folds", "0")


@pytest.fixture
def read_from(monkeypatch):
    """Have the digests read another tree; called again after every change of it.

    What is read is kept beside the tree.
    """

    def clear() -> None:
        for cached in (code.find, code._facts, code._attached, code._trees):
            cached.cache_clear()
        code._changed.clear()

    def use(root: Path) -> None:
        monkeypatch.setattr(code, "ROOT", root)
        monkeypatch.setattr(code, "_home", lambda: root.parent / "kept")
        clear()

    yield use
    clear()


@pytest.fixture
def project(tmp_path, read_from):
    """A made-up project, as a function that changes files and gives the digests of two steps."""
    files = {
        "setup.cfg": "",
        "ivector/__init__.py": '''
            from ivector.base.lazy import attach
            __getattr__, __dir__, __all__ = attach(__name__)''',
        "ivector/__init__.pyi": '''
            from ivector.ubm import UBM as UBM
            from ivector.tv import TV as TV''',
        "ivector/base/lazy.py": "def attach(package):\n    return None, None, []",
        "ivector/base/log.py": "LEVEL = 1",
        "ivector/kernels.py": "import numpy as np\n\ndef power(x):\n    return np.log(x + 1)",
        "ivector/ubm.py": "from ivector.kernels import power\n\nclass UBM:\n    n = 1",
        "ivector/tv.py": "class TV:\n    rank = 2",
        "plda/__init__.py": "",
        "plda/em.py": '''
            """Maximisation."""
            import logging
            import warnings
            from ivector.base import log

            logger = logging.getLogger("plda")

            def step(x):
                """One iteration."""
                if not x:
                    raise ValueError(f"no vectors: {x}")
                logger.info("%s iterations", x)
                warnings.warn("few vectors", stacklevel=2)
                print("step", x)
                return 2 * x  # twice''',
        "dnn/table.py": '''
            class Entry:
                def __init__(self, module, name):
                    self.module = module
            MODELS = {"small": Entry("dnn.small", "Small")}''',
        "dnn/small.py": "class Small:\n    width = 64",
        "recipes/engine/run.py": "from plda.em import step\n\nN = 1",
        "recipes/steps/ubm.py": '''
            from recipes.engine.run import N
            from ivector import UBM''',
        "recipes/steps/backend.py": '''
            def train():
                from plda import em
                import dnn.table
                return em.step''',
    }  # fmt: skip

    def digests(changed: str = "", old: str = "", new: str = "") -> tuple[str, str]:
        if changed:
            assert old in files[changed]
            files[changed] = files[changed].replace(old, new, 1)
        for name, text in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [line[12:] if line.startswith(" " * 12) else line for line in text.splitlines()]
            path.write_text("\n".join(lines) + "\n")
        read_from(tmp_path / "project")
        return code.code_digest("recipes.steps.ubm"), code.code_digest("recipes.steps.backend")

    return digests


@pytest.mark.parametrize(
    ("changed", "old", "new", "whose"),
    [
        ("plda/em.py", "2 * x", "3 * x", "backend"),
        ("plda/em.py", "if not x", "if x is None", "backend"),
        ("plda/em.py", "raise ValueError", "raise TypeError", "backend"),
        ("plda/em.py", "def step(x)", "def step(x, y=1)", "backend"),
        ("ivector/kernels.py", "np.log(x + 1)", "np.log(x + 2)", "ubm"),  # says nothing
        ("ivector/kernels.py", "np.log(x + 1)", "np.log1p(x)", "ubm"),
        ("ivector/ubm.py", "n = 1", "n = 2", "ubm"),  # attached lazily
        ("ivector/ubm.py", "n = 1", "n = 1.0", "ubm"),
        ("ivector/tv.py", "rank = 2", "rank = 3", ""),  # attached, but nobody's
        ("dnn/small.py", "width = 64", "width = 32", ""),  # a table's entry: steps name theirs
        ("dnn/table.py", '"small"', '"tiny"', "backend"),
        ("recipes/engine/run.py", "N = 1", "N = 2", ""),  # of the frame around
        ("ivector/base/log.py", "LEVEL = 1", "LEVEL = 2", ""),
        # What changes no number
        ("plda/em.py", "Maximisation.", "M-step.", ""),
        ("plda/em.py", '"""One iteration."""\n', "\n", ""),
        ("plda/em.py", "# twice", "# by two", ""),
        ("plda/em.py", "2 * x", "(2\n        * x)", ""),
        ("plda/em.py", "no vectors: {x}", "nothing: {x!r}", ""),
        ("plda/em.py", '"%s iterations", x', '"iterations: %d of %d", x, 2 * x', ""),
        ("plda/em.py", "few vectors", "too few vectors", ""),
        ("plda/em.py", '"step", x', '"step", x, flush=True', ""),
    ],
)
def test_a_change_is_of_the_steps_that_import_it(project, changed, old, new, whose):
    before, after = project(), project(changed, old, new)
    assert (before[0] != after[0], before[1] != after[1]) == (whose == "ubm", whose == "backend")


def test_modules_are_followed_at_any_distance(project):
    project()
    assert code.closure("recipes.steps.ubm") == {
        "recipes.steps.ubm", "recipes.engine.run", "ivector.ubm", "ivector.kernels"
    }  # fmt: skip
    assert code.closure("recipes.steps.backend") == {
        "recipes.steps.backend", "plda.em", "ivector.base.log", "dnn.table"
    }  # fmt: skip


def test_what_a_step_names_itself_counts(project):
    project()
    names = "recipes.steps.backend", "dnn.small"
    before = code.code_digest(*names)
    project("dnn/small.py", "width = 64", "width = 32")
    assert code.code_digest(*names) != before
    assert code.code_digest(names[0]) != code.code_digest(*names)


def test_a_new_module_is_noticed(project):
    before = project()
    after = project("plda/em.py", "import warnings", "import warnings\nimport ivector.tv")
    assert before[0] == after[0] and before[1] != after[1]


def test_what_was_read_is_kept_for_the_next_process(project, read_from, tmp_path):
    first = project()
    assert "recipes.steps.ubm" in code._changed
    code.keep_trees()
    read_from(tmp_path / "project")
    names = ("recipes.steps.ubm", "recipes.steps.backend")
    assert tuple(map(code.code_digest, names)) == first and code._changed == []
    for text in ("damaged", "[]", '{"recipes.steps.ubm": [[0, 0], "", []]}'):
        (tmp_path / "kept" / code._KEPT).write_text(text)
        read_from(tmp_path / "project")
        assert tuple(map(code.code_digest, names)) == first


def test_nothing_is_kept_beside_what_pip_has_installed(project, tmp_path):
    project()
    (tmp_path / "project/setup.cfg").unlink()
    code.keep_trees()
    assert code._changed and not (tmp_path / "kept").exists()


def test_what_another_reader_has_kept_is_read_again(project, read_from, tmp_path):
    """As after an update that reads trees otherwise."""
    first, _ = project()
    code.keep_trees()
    kept = tmp_path / "kept" / code._KEPT
    forged = json.loads(kept.read_text())
    forged["recipes.steps.ubm"][1] = "0" * 16
    for record, trusted in ((forged, True), ({**forged, "reader": "of another version"}, False)):
        kept.write_text(json.dumps(record))
        read_from(tmp_path / "project")
        assert (code.code_digest("recipes.steps.ubm") != first) == trusted


# The real tree


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the toolkit's own modules."""
    folder = tmp_path_factory.mktemp("toolkit") / "sources"
    for room in code.ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=lambda _, names: [
            name for name in names if "." in name and not name.endswith((".py", ".pyi"))
        ])  # fmt: skip
    return folder


@pytest.fixture
def tree(sources, read_from):
    """The copy, as a function that changes a file of it and gives the digests of all steps."""
    originals: dict[Path, str] = {}

    def digests(name: str = "", edit: Callable[[str], str] = str) -> dict[str, str]:
        if name:
            path = sources / name
            text = originals.setdefault(path, path.read_text(encoding="utf-8"))
            assert edit(text) != text
            path.write_text(edit(text), encoding="utf-8")
        read_from(sources)
        found = {step: code.code_digest(f"recipes.steps.{step}") for step in STEPS}
        code.keep_trees()
        return found

    yield digests
    for path, text in originals.items():
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "those", "others"),
    [
        # The scores read the back-end's model, those of GMMs their own.
        ("plda/models/em.py", "floor", {"backend", "scores"},
         {"features", "ubm", "total_variability", "ivectors", "gmm_ubm", "fusion", "report"}),
        ("ivector/gmm/em.py", "context", {"ubm", "total_variability", "ivectors", "gmm_ubm"},
         {"corpus", "features", "backend", "scores", "fusion", "report"}),
        ("ivector/features/vad.py", "threshold", {"features"},
         {"development", "ubm", "backend", "scores", "fusion"}),
        ("fusion/calibration/methods.py", "root", {"fusion"},
         {"features", "ubm", "backend", "scores", "gmm_ubm"}),
        ("plda/normalisation.py", "top_n", {"scores", "gmm_ubm"},
         {"features", "ubm", "total_variability", "ivectors", "backend", "fusion"}),
        ("recipes/inner_folds.py", "n_models", {"development"},
         {"corpus", "features", "ubm", "backend", "scores", "fusion"}),
    ],
)  # fmt: skip
def test_steps_of_the_toolkit_follow_what_they_compute_with(tree, name, old, those, others):
    """A name of the computation is another one."""
    before, after = tree(), tree(name, lambda text: re.sub(rf"\b{old}\b", "renamed", text))
    changed = {step for step in STEPS if before[step] != after[step]}
    assert those <= changed and not others & changed
    module = name[:-3].replace("/", ".")
    assert changed == {s for s in STEPS if module in code.closure(f"recipes.steps.{s}")}


def test_layout_comments_and_docstrings_of_the_toolkit_change_nothing(sources, read_from, tmp_path):
    read_from(sources)
    before = {step: code.code_digest(f"recipes.steps.{step}") for step in STEPS}
    other = tmp_path / "other"
    shutil.copytree(sources, other)  # with the stubs
    for path in sources.rglob("*.py"):
        parsed = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(parsed):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
                node
            ):
                node.body[0] = ast.parse("'''Other words.'''").body[0]
        (other / path.relative_to(sources)).write_text(ast.unparse(parsed) + "\n", encoding="utf-8")
    read_from(other)
    assert {step: code.code_digest(f"recipes.steps.{step}") for step in STEPS} == before


@pytest.mark.parametrize("step", STEPS)
def test_the_frame_is_no_part_of_any_step(step):
    counted = {
        name for name in code.closure(f"recipes.steps.{step}") if not name.startswith(code.IDLE)
    }
    assert not any(name.startswith(("recipes.engine", "recipes.systems")) for name in counted)
    assert f"recipes.steps.{step}" in counted and len(counted) > 2


# A finished experiment


@pytest.fixture
def plan(copy, capsys):
    """What a dry run says of the experiment: reasons by folder; empty where it is left alone."""

    def say(*options: str) -> dict[str, str]:
        assert run_stage(copy, "plan", *CORPUS, *SMALL, *ALONE, *options) == 0
        lines = capsys.readouterr().out.splitlines()
        split = [line.split(maxsplit=1) for line in lines]
        names = [(verb, *rest.partition("  # ")[::2]) for verb, rest in split]
        assert all((verb == "run") == bool(why) for verb, _, why in names)
        return {str(Path(name).relative_to(copy)): why for _, name, why in names}

    return say


CHANGED = "the code of this stage changed"


def more_iterations(text: str) -> str:
    return text.replace("n_iter: int = 10", "n_iter: int = 11")


def other_words(text: str) -> str:
    opened = re.sub(r'"""(?=[A-Z])', '"""Other words. ', text)
    return opened.replace("\n\n\n", "\n\n# Here\n\n")


def test_a_changed_line_of_code_runs_its_stage_and_those_behind(plan, tree):
    assert {name for name, why in plan().items() if why} == {"exp/report"}
    tree("plda/models/plda.py", more_iterations)
    told = plan()
    for fold in ("fold0", "fold1"):
        assert told[f"exp/ivector/backend/{fold}"] == CHANGED
        assert told[f"exp/ivector/scores/{fold}"] == f"follows stage 5; {CHANGED}"
        for kind in ("ubm", "tv", "ivectors"):
            assert told[f"exp/ivector/{kind}/{fold}"] == ""
    assert told["exp/features"] == told["data"] == ""


def test_finished_stages_are_kept_where_that_is_asked_for(plan, tree):
    tree("plda/models/plda.py", more_iterations)
    kept = plan("--keep-finished", "true")
    assert {name for name, why in kept.items() if why} == {"exp/report"}
    # What else has changed is a reason still.
    kept = plan("--keep-finished", "true", "--plda-smoothing", "0.5")
    assert kept["exp/ivector/backend/fold0"] == "option plda_smoothing: 0.0 -> 0.5"


def test_words_run_nothing(plan, tree):
    tree("plda/models/plda.py", other_words)
    assert {name for name, why in plan().items() if why} == {"exp/report"}


# The processor


def stop(folder: Path) -> list[str]:
    """Begin a stage and stop; what a former run had left in it."""
    with pytest.raises(ZeroDivisionError), own_process(), stage(folder, {"n": 1}) as work:
        found = [path.name for path in work.glob("half")]
        (work / "half").write_text("half")
        raise ZeroDivisionError
    return found


def test_features_of_the_processor_are_in_the_key_of_an_unfinished_stage(tmp_path, monkeypatch):
    assert stop(tmp_path / "stage") == []
    assert stop(tmp_path / "stage") == ["half"]
    monkeypatch.setattr(marks, "cpu", lambda: "x86_64 AVX BLAS=Prescott")
    assert stop(tmp_path / "stage") == []
    assert stop(tmp_path / "stage") == ["half"]


def test_features_of_the_processor_are_in_the_log_of_a_finished_one(copy):
    for name in ("features", "ivector/ubm/fold0", "gmm-ubm/scores/fold1"):
        lines = (copy / "exp" / name / "log").read_text(encoding="utf-8").splitlines()
        (line,) = [line for line in lines if ": finished in" in line]
        assert line.endswith(f" s on {marks.cpu()}")
    assert marks.cpu().split()[0] and "BLAS=" in marks.cpu()
