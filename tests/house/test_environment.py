"""The toolkit where something is missing: cache folders, packages, UTF-8, parts of POSIX."""

import ast
import configparser
import errno
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from house_rules import PACKAGES
from numba.core import caching

from ivector.base import cli, jit
from ivector.base.errors import Exit
from ivector.base.extras import EXTRAS, MissingExtraError, told_extra
from ivector.base.files import write_text

ROOT = Path(__file__).resolve().parents[2]
KERNEL = """\
from ivector.base.jit import njit

@njit(cache=True)
def twice(x):
    return 2 * x
"""


def python(*words, cwd, path=ROOT, **environment):
    """A Python process of its own, without a compiler in its PATH."""
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, encoding="utf-8",
        env={"PYTHONPATH": str(path), "PATH": "", "SYSTEMROOT": os.environ.get("SYSTEMROOT", ""),
             **environment},
    )  # fmt: skip


# Compiled kernels


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel in a folder of its own, as often as it is called for, as if by other processes."""
    monkeypatch.setattr(jit, "_told", False)
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL)

    def load():
        spec = importlib.util.spec_from_file_location("kernel", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return load


def hits(kernel):
    assert kernel(3) == 6
    return sum(kernel.stats.cache_hits.values())


def kept(tmp_path):
    return sorted(path for path in tmp_path.rglob("*.nb[ci]"))


def test_a_kernel_is_kept(kernel, tmp_path):
    assert [hits(kernel()), hits(kernel())] == [0, 1]
    assert [path.suffix for path in kept(tmp_path)] == [".nbc", ".nbi"]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"junk", None], ids=["empty", "junk", "cut"])
def test_a_damaged_kernel_is_compiled_and_kept_again(kernel, tmp_path, suffix, content):
    hits(kernel())
    (path,) = (path for path in kept(tmp_path) if path.suffix == suffix)
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [hits(kernel()), hits(kernel())] == [0, 1]


def refuse(number):
    def raise_error(*_):
        raise OSError(number, os.strerror(number))

    return raise_error


def test_without_a_cache_folder_kernels_are_compiled_and_that_is_told_once(kernel, monkeypatch):
    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse(errno.EACCES))
    with pytest.warns(RuntimeWarning) as told:
        kernels = [kernel(), kernel()]
    assert [hits(one) for one in kernels] == [0, 0]
    (warning,) = told
    assert "Numba finds no place for them" in str(warning.message)
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in str(warning.message)


def test_on_a_full_disk_kernels_are_compiled(kernel, monkeypatch, tmp_path):
    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", refuse(errno.ENOSPC))
    with pytest.warns(RuntimeWarning, match=r"cache.*No space left.* set NUMBA_CACHE_DIR"):
        assert hits(kernel()) == 0


def test_all_kernels_are_compiled_so():
    files = [path for room in PACKAGES for path in (ROOT / room).rglob("*.py")]
    named = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if re.search(r"numba\.n?jit\b|from numba import .*jit\b", path.read_text(encoding="utf-8"))
    ]
    assert named == ["ivector/base/jit.py"]


# Where the toolkit lies


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The toolkit in a .zip, on a path with a space and an umlaut."""
    path = tmp_path_factory.mktemp("zip") / "mein Gerät" / "toolkit.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        for one in itertools.chain.from_iterable((ROOT / room).rglob("*.py*") for room in PACKAGES):
            if one.suffix != ".pyc":
                file.write(one, one.relative_to(ROOT))
    return path


def test_the_toolkit_runs_from_an_archive(archive, tmp_path):
    text = "import ivector, plda; print(ivector.__file__, ivector.MFCC(), plda.PLDA(), sep='\\n')"
    done = python("-c", text, cwd=tmp_path, path=archive, PYTHONUTF8="1")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(str(archive)) and lines[1:] == ["MFCC()", "PLDA()"], done.stderr
    # By a path and into a folder that are not ASCII, with an encoding that is.
    words = ("-m", "fusion.example", "Übung", "--seed", "1")
    done = python(*words, cwd=tmp_path, path=archive, LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0 and (tmp_path / "Übung" / "eval" / "trials").is_file(), done.stderr


def test_a_missing_stub_is_told(archive, tmp_path):
    copy = tmp_path / "copy.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            if name != "plda/__init__.pyi":
                new.writestr(name, old.read(name))
    done = python("-c", "import plda", cwd=tmp_path, path=copy)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ") and last.endswith("install ivector-plda again")
    assert "__init__.pyi names what plda has" in last


def test_two_copies_keep_their_kernels_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        factor = {"one": "2 * x", "two": "3 * x"}[name]
        (tmp_path / name / "kernel.py").write_text(KERNEL.replace("2 * x", factor))
    told = []
    for name in ("one", "two", "one"):
        path = os.pathsep.join([str(tmp_path / name), str(ROOT)])
        text = "import kernel; print(kernel.twice(5), *kernel.twice.stats.cache_hits.values())"
        told.append(python("-c", text, cwd=tmp_path, path=path, NUMBA_CACHE_DIR=tmp_path / "c"))
    assert [done.stdout for done in told] == ["10\n", "15\n", "10 1\n"], told[0].stderr


# Python and the terminal


@pytest.mark.parametrize("package", PACKAGES)
def test_an_old_python_is_told(package, tmp_path):
    old = f"import sys; sys.version_info = (3, 9, 18); sys.argv = [{{!r}}]; import {package}"
    done = python("-c", old.format("-c"), cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(
        "ImportError: ivector-plda needs Python 3.10 or later, and "
    )
    done = python("-c", old.format("-m"), cwd=tmp_path)  # as argv is while packages are imported
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ivector-plda needs Python 3.10")


def test_an_old_python_can_read_what_tells_it():
    for package in PACKAGES:
        text = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
        tree = ast.parse(text, feature_version=(3, 6))
        first = next(node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
                     and ast.unparse(node) not in ("import os", "import sys"))  # fmt: skip
        assert package == "ivector" or ast.unparse(first).split()[1].startswith("ivector")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_anything_can_be_printed(encoding, tmp_path):
    text = (
        "from ivector.base.cli import guarded; guarded('x', lambda: print('1\\u202f000 \\udcfc'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )  # fmt: skip
    wanted = {"ascii": b"1?000 ?", "utf-8": "1\u202f000 ".encode() + b"\xfc"}[encoding]
    assert done.stdout.strip() == wanted, done.stderr


def test_a_name_that_the_system_cannot_encode_is_one_line(capsys):
    assert cli.guarded("x", lambda: "ä".encode("ascii") and None) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == r"x: error: '\xe4' cannot be written in ascii; set PYTHONUTF8=1"


def test_file_names_that_are_not_utf8_are_written_as_they_are(tmp_path):
    write_text(tmp_path / "a", "J\udcf6rg")
    assert (tmp_path / "a").read_bytes() == b"J\xf6rg"


# Packages that are not installed

HIDDEN = """\
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}.split():
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""
COMMAND = """\
import runpy
module, *words = {command!r}.split()
sys.argv = [module, *words]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def without(missing, command, cwd):
    text = (HIDDEN + COMMAND).format(missing=missing, command=command)
    done = python("-c", text, cwd=cwd, path=ROOT)
    return done.returncode, done.stderr.splitlines(), done.stdout


@pytest.fixture
def files(tmp_path):
    """A folder with what commands read before they need what is missing."""
    (tmp_path / "scores").write_text("a b 1\na c 0\n")
    (tmp_path / "trials").write_text("a b target\na c nontarget\n")
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "net").mkdir()
    told = {"features": "log-mel", "normalisation": "mean", "crop_frames": 9}
    config = {"format": 1, "model": {"name": "ecapa"}, "identification": told}
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    (tmp_path / "net" / "network.safetensors").touch()
    shutil.copy(ROOT / "docs" / "networks.md", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("torch", "dnn.train --features f --utt2spk u --out o", "dnn"),
        ("torch", "dnn.identify train d --out o", "dnn"),
        ("torch", "dnn.identify test net d --out o", "dnn"),
        ("torch", "dnn.identify predict net d --out o", "dnn"),
        ("torch", "dnn.identify sweep d --out o", "dnn"),
        ("torch", "dnn.deep_speaker softmax --features f --utt2spk u --out o", "dnn"),
        ("torch", "dnn.extract net --features f --out v.npz", "dnn"),
        ("torch", "dnn.verify net --features f --trials trials --out o", "dnn"),
        ("torch", "dnn.miniature mels m", "dnn"),
        ("torch", "dnn.configuration --page networks.md", "dnn"),
        (
            "torch",
            "recipes.train_embedding --loss softmax --features f --utt2spk u --out o",
            "dnn",
        ),
        ("onnxruntime", "dnn.embed wav.scp --onnx m --front-end waveform --out v.npz", "onnx"),
        ("h5py", "fusion.evaluate x.h5 trials", "hdf5"),
        ("h5py", "fusion.lint x.h5 trials", "hdf5"),
        ("h5py", "fusion.report a=x.h5 trials --out r.html", "hdf5"),
        ("dask distributed", "ivector.store wav.scp o --backend dask", "scale"),
        ("kfp", "recipes.cluster.pipeline --compile o", "pipeline"),
        ("dask dask_jobqueue", "recipes.cluster.slurm.start --print", "slurm"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(files, missing, command, extra):
    code, errors, _ = without(missing, command, files)
    assert code == 1 and len(errors) == 1, errors
    assert re.search(r"needs? \w+, which is not installed: ", errors[0])
    assert errors[0].endswith(f"pip install 'ivector-plda[{extra}]'")


@pytest.mark.parametrize("command", ["dnn.configuration train", "dnn.miniature records o"])
def test_what_needs_no_extra_runs_without(tmp_path, command):
    code, errors, _ = without(" ".join(EXTRAS), command, tmp_path)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("numpy", "fusion.evaluate scores trials"),
        ("scipy", "fusion.calibrate scores trials --out o"),
        ("numba", "fusion.evaluate scores trials"),
        ("matplotlib", "fusion.evaluate scores trials --det d.png"),
    ],
)
def test_a_command_says_which_package_is_missing(files, missing, command):
    code, errors, _ = without(missing, command, files)
    assert code == 1 and "Traceback" not in "".join(errors), errors
    assert errors[-1].endswith(
        f"error: {missing} is not installed; pip install ivector-plda installs all that is needed"
    )


IMPORT_ALL = """
import importlib, pkgutil
from ivector.base.extras import MissingExtraError
asked = 0
for package in ("ivector", "plda", "dnn", "fusion", "recipes"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except MissingExtraError:
                asked += 1
print(asked)
"""


def test_every_module_is_imported_or_names_its_extra(tmp_path):
    text = HIDDEN.format(missing=" ".join(EXTRAS)) + IMPORT_ALL
    done = python("-c", text, cwd=tmp_path, path=ROOT)
    assert done.returncode == 0 and int(done.stdout) > 10, done.stderr


def test_a_missing_module_of_our_own_is_no_mistake_of_the_user(capsys):
    def body():
        import ivector.nothing  # type: ignore[import-not-found]  # noqa: F401

    assert cli.guarded("x", body) == Exit.FAULT
    assert "No module named 'ivector.nothing'" in capsys.readouterr().err


def test_the_table_of_extras_is_that_of_the_installation():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    brought = {
        extra: set(re.findall(r"\w+", text.replace("-", "_")))
        for extra, text in parser["options.extras_require"].items()
    }
    for module, extra in EXTRAS.items():
        assert module in brought[extra], module
    required = set(re.findall(r"^[\w-]+", parser["options"]["install_requires"], re.M))
    assert not required & set(EXTRAS)


def test_a_package_of_no_extra_is_left_alone():
    with pytest.raises(ModuleNotFoundError) as told, told_extra():
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")
    assert not isinstance(told.value, MissingExtraError)


# Systems that are not POSIX

ELSEWHERE = """\
import importlib, os, pkgutil, signal, sys
import numba, sklearn  # what they need themselves is theirs to find
try:
    import distributed, torch
except ImportError:
    pass
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "waitid", "sched_getaffinity", "getuid", "killpg", "setsid", "sysconf",
             "WNOHANG", "O_DIRECTORY", "pread", "register_at_fork", "uname", "getloadavg"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGCHLD", "SIGPIPE", "pause"):
    if hasattr(signal, name):
        delattr(signal, name)
from ivector.base.extras import EXTRAS
n = 0
for package in {packages!r}:
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not found.name.endswith("__main__"):
            try:
                module = importlib.import_module(found.name)
                for name in getattr(module, "__all__", ()):
                    getattr(module, name)
            except ImportError as error:
                # Dask itself finds out whether it is on Windows.
                ours = found.name != "ivector.base.parallel.cluster" and error.name not in EXTRAS
                if ours and not type(error).__name__ == "MissingExtraError":
                    raise
            n += 1
print(n)
"""


@pytest.mark.slow
def test_every_module_can_be_imported_where_posix_is_missing(tmp_path):
    done = python("-c", ELSEWHERE.format(packages=PACKAGES), cwd=tmp_path)
    assert done.returncode == 0 and int(done.stdout) > 250, done.stderr
