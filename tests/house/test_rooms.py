"""The house's own tests: rooms, arrows, maps and sizes; each rule is shown to fail too."""

import importlib
from pathlib import Path

import house_rules
import pytest
from house_rules import House

ROOT = Path(__file__).resolve().parents[2]
RULES = ("circles", "wrong_arrows", "wrong_maps", "too_large", "wrong_stubs", "private_imports")


@pytest.fixture(scope="module")
def house():
    return House(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps(rule, house):
    lines = getattr(house_rules, rule)(house)
    assert not lines, f"{rule}:\n" + "\n".join(lines)


def test_the_house_is_read_whole(house):
    assert house.packages == list(house_rules.PACKAGES)
    assert {"fusion", "ivector.base.lazy", "recipes.steps.__main__"} <= set(house.modules)
    assert house.modules["ivector"].lazy["MFCC"] in house.modules


@pytest.fixture
def build(tmp_path):
    """A house of a few files, from their texts; folders without ``__init__`` get an empty one."""

    def build(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            for folder in path.relative_to(tmp_path).parents[
                : -1 if path.suffix in (".py", ".pyi") else 0
            ]:
                (tmp_path / folder / "__init__.py").touch()
        return House(tmp_path)

    return build


LAZY = "from ivector.base.lazy import attach\nx = attach(__name__)\n"
STUB = "from fusion.a import A as A\n"
INSIDE = "def f():\n    from fusion import a\n"
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fusion.a import A\n"


@pytest.mark.parametrize(
    "back",
    [
        "import fusion.a",
        "import fusion.a as other",
        "from fusion import a",
        "from fusion.a import A",
        "from fusion import A",
        "import fusion\nfusion.A",
        "from . import a",
        "from .a import A",
        INSIDE,
        TYPES,
    ],
)
def test_a_circle_is_found(build, back):
    house = build(
        {
            "fusion/__init__.py": LAZY,
            "fusion/__init__.pyi": STUB,
            "fusion/a.py": "import fusion.b\n",
            "fusion/b.py": "import os\nfrom fusion import c\n",
            "fusion/c.py": back + "\n",
            "fusion/d.py": "from fusion import A\n",
        }
    )
    (line,) = house_rules.circles(house)
    assert line == "circle: fusion/a.py -> fusion/b.py -> fusion/c.py -> fusion/a.py"


def test_a_circle_through_a_package_is_found(build):
    # Whoever imports dnn.models.x runs dnn/models/__init__.py first.
    files = {
        "dnn/models/__init__.py": "from dnn.registry import Entry\n",
        "dnn/models/x.py": "",
        "dnn/registry.py": "import dnn.models.x\n",
    }
    (line,) = house_rules.circles(build(files))
    assert line == "circle: dnn/models/__init__.py -> dnn/registry.py -> dnn/models/__init__.py"
    files["dnn/models/__init__.py"] = ""
    files["dnn/models/x.py"] = "from dnn.models import y\n"
    files["dnn/models/y.py"] = "import dnn.models\n"
    assert house_rules.circles(build(files)) == []


def test_a_module_that_imports_itself_is_a_circle(build):
    house = build({"fusion/__init__.pyi": STUB, "fusion/a.py": "from fusion import A\n"})
    assert house_rules.circles(house) == ["circle: fusion/a.py -> fusion/a.py"]


def test_a_program_may_import_itself(build):
    text = 'if __name__ == "__main__":\n    from fusion.a import main\n\n    main()\n'
    assert house_rules.circles(build({"fusion/a.py": text})) == []


def test_a_lazy_name_may_lead_over_several_packages(build):
    house = build(
        {
            "fusion/__init__.pyi": STUB.replace("fusion.a", "fusion.inner"),
            "fusion/inner/__init__.pyi": STUB.replace("fusion.a", "fusion.inner.a"),
            "fusion/inner/a.py": "import fusion.b\n",
            "fusion/b.py": "from fusion import A\n",
        }
    )
    (line,) = house_rules.circles(house)
    assert line == "circle: fusion/b.py -> fusion/inner/a.py -> fusion/b.py"


def test_lazy_tables_that_name_each_other_come_to_an_end(build):
    files = {
        "fusion/__init__.pyi": STUB.replace("fusion.a", "fusion.inner"),
        "fusion/inner/__init__.pyi": STUB.replace("fusion.a", "fusion"),
        "fusion/b.py": "from fusion import A\n",
    }
    assert build(files).arrows


def test_wrong_stubs_are_found(build):
    files = {
        "fusion/__init__.py": LAZY,
        "fusion/__init__.pyi": STUB,
        "fusion/a.py": "class A: ...\n",
        "plda/__init__.py": LAZY,
        "dnn/__init__.pyi": STUB,
        "dnn/a.py": "",
    }
    assert house_rules.wrong_stubs(build(files)) == [
        "plda/__init__.py must attach its public names, and __init__.pyi list them",
        "dnn/__init__.py must attach its public names, and __init__.pyi list them",
    ]
    more = STUB + "\nfrom fusion.a import A\n__version__: str\nB: int\n"
    files = {"fusion/__init__.pyi": more, "plda/__init__.pyi": "", "dnn/__init__.py": LAZY}
    assert house_rules.wrong_stubs(build(files)) == [
        f"fusion/__init__.pyi:{number} is no line: from MODULE import NAME as NAME"
        for number in (3, 5)
    ]


def test_public_names_are_those_of_the_stubs(house):
    for name, module in house.modules.items():
        if module.lazy:
            assert importlib.import_module(name).__all__ == sorted(module.lazy), name


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("ivector/gmm/x.py", "import plda"),
        ("ivector/gmm/x.py", "from recipes import steps"),
        ("ivector/base/x.py", "import ivector"),
        ("ivector/base/x.py", "from ivector.gmm import y"),
        ("plda/x.py", "from ivector.gmm.y import z"),
        ("plda/x.py", "from ivector import A"),
        ("plda/x.py", "import fusion"),
        ("fusion/x.py", "def f():\n    import plda"),
        ("fusion/x.py", "import dnn"),
        ("dnn/x.py", "from plda import a"),
        ("dnn/x.py", "import recipes.steps"),
        ("fusion/__init__.pyi", STUB.strip().replace("fusion.a", "plda.a")),
    ],
)
def test_a_wrong_arrow_is_found(build, file, text):
    files = {
        "ivector/__init__.pyi": STUB.replace("fusion.a", "ivector.gmm.y"),
        "ivector/gmm/y.py": "",
        "plda/a.py": "",
        "fusion/a.py": "",
        "dnn/a.py": "",
        "recipes/steps/a.py": "",
    }
    (line,) = house_rules.wrong_arrows(build({**files, file: text + "\n"}))
    assert line.startswith(f"{file.removesuffix('i')}:{len(text.splitlines())} imports ")
    room = file.rpartition("/")[0].replace("/", ".").removesuffix(".gmm")
    assert f", but {room} may import from {house_rules.ROOMS[room][0]}" in line


def test_right_arrows_are_left_alone(build):
    house = build(
        {
            "ivector/base/errors.py": "import os\n",
            "ivector/gmm/y.py": "from ivector.base import errors\n",
            "plda/a.py": "from ivector.base.errors import UsageError\nimport numpy as recipes\n",
            "fusion/a.py": "from ivector.base import errors\n",
            "dnn/a.py": "import ivector.gmm.y\n",
            "recipes/steps/a.py": "import ivector, plda.a, dnn.a, fusion.a, recipes\n",
        }
    )
    assert house_rules.wrong_arrows(house) == []


def test_a_wrong_map_is_found(build):
    text = '''"""What a room is for.

Prose that begins with a word is no map; a  b neither.

first     Does this.
second/   Does that, over a line that is
          further    indented.
third     Went away.
run.sh    A script.
"""
'''
    files = {
        "plda/__init__.py": text,
        "plda/first.py": "",
        "plda/second/__init__.py": "",
        "plda/second/inner.py": "",
        "plda/run.sh": "",
        "plda/__main__.py": "",
        "plda/conf/default.conf": "",
    }
    assert house_rules.wrong_maps(build(files)) == [
        "plda/__init__.py: its map does not name __main__",
        "plda/__init__.py: its map names third, which is not there",
        "plda/second/__init__.py: its map does not name inner",
    ]


def test_only_programs_are_in_folders_without_a_map(tmp_path):
    (tmp_path / "plda" / "lost").mkdir(parents=True)
    (tmp_path / "plda" / "__init__.py").write_text(
        '"""A room.\n\nlost  Of programs.\nb  Two.\n"""\n'
    )
    (tmp_path / "plda" / "lost" / "a.py").touch()
    (tmp_path / "plda" / "b.py").touch()
    assert house_rules.wrong_maps(House(tmp_path)) == []
    (tmp_path / "plda" / "b.py").write_text("import plda.lost.a\n")
    (line,) = house_rules.wrong_maps(House(tmp_path))
    assert line == "plda/lost/__init__.py is not there, though modules of its folder are imported"


def test_what_is_too_large_is_found(build):
    many = {f"fusion/room/m{i}.py": "" for i in range(house_rules.MAX_MODULES)}
    long = "x = 1\n" * house_rules.MAX_LINES
    files = {**many, "fusion/room/m0.py": long, "recipes/a/run.sh": long, "recipes/data": long * 2}
    assert house_rules.too_large(build(files)) == []
    files |= {"fusion/room/m0.py": long + "\n", "recipes/a/run.sh": long + "y"}
    files["fusion/room/one_more.py"] = ""
    assert house_rules.too_large(build(files)) == [
        "fusion/room/m0.py has 451 lines, more than 450",
        "recipes/a/run.sh has 451 lines, more than 450",
        "fusion/room holds 17 modules, more than 16",
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("from plda.a import _x", "_x"),
        ("from plda.a import _x as x", "_x"),
        ("import plda._hidden", "_hidden"),
        ("from plda import _hidden", "_hidden"),
        ("from plda._hidden import x", "_hidden"),
        ("from plda import a as b\nb._x", "_x"),
        ("def f():\n    from .a import _x", "_x"),
    ],
)
def test_a_private_import_is_found(build, text, what):
    files = {"plda/a.py": "_x = 1\n", "plda/_hidden.py": "x = 1\n", "plda/b.py": text + "\n"}
    lines = house_rules.private_imports(build(files))
    assert lines
    assert all(line.startswith("plda/b.py:") and f" imports {what} from " in line for line in lines)


def test_a_private_module_behind_a_lazy_name_is_found(build):
    text = STUB.replace("fusion.a", "fusion._hidden")
    (line,) = house_rules.private_imports(
        build({"fusion/__init__.pyi": text, "fusion/_hidden.py": ""})
    )
    assert line == (
        "fusion/__init__.py:1 imports _hidden from fusion/_hidden.py, where it is private"
    )


def test_what_is_not_private_is_left_alone(build):
    text = (
        "import os\nfrom os import _exit\nimport plda\nplda.__name__\nfrom plda.a import __doc__\n"
    )
    house = build({"plda/a.py": "_x = 1\nprint(_x)\n", "plda/b.py": text, "plda/__main__.py": ""})
    assert house_rules.private_imports(house) == []
