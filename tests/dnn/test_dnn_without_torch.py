"""Without the extra: what needs no torch works, all else names the extra in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnn.commands import COMMANDS
from dnn.embedding.extraction import write_vectors

ROOT = Path(__file__).resolve().parents[2]
TOLD = {
    f"networks and GPUs need {name}, which is not installed: pip install 'ivector-plda[dnn]'"
    for name in ("torch", "safetensors")
}
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
# Every command where it needs no torch (True; None: but something else), and up to where it does.
RUNS = {
    "configuration train": True,
    "miniature records records": True,
    "miniature mels mels": False,
    "train --features f --utt2spk u --out o": False,
    "train --features f --utt2spk u --out o --config pooling.json": False,
    "deep-speaker softmax --librispeech f --out o": False,
    "curves training --out curves.png": True,
    "extract network --features f --out x.npz": False,
    "export network --out x.onnx": False,
    "embed audio --onnx no.onnx --front-end waveform --out x.npz": None,
    "verify --vectors v.npz --trials trials --out scores": True,
    "verify network --features f --trials trials --out scores": False,
    "identify train f --out o": False,
    "identify test network f --out o": False,
    "identify predict network f --out o": False,
    "identify sweep f --held-out 1 --out o": False,
}


def hidden(code, folder, *words):
    """Run code in a process that finds neither torch nor safetensors."""
    return subprocess.run(
        [sys.executable, "-c", HIDE + code, *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, file, content in (
        ("network", "config.json", {
            "format": 1, "model": {"name": "ecapa"},
            "identification": {"features": "log-mel", "normalisation": "mean", "crop_frames": 100},
        }),
        ("training", "scalars.jsonl", {"step": 1, "loss": 2.0, "lr": 0.1}),
        (".", "pooling.json", {"model": {"pooling": "average"}}),
    ):  # fmt: skip
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text(json.dumps(content))
    (tmp_path / "trials").write_text("a b target\n")
    write_vectors(tmp_path / "v.npz", ["a", "b"], np.eye(2, dtype=np.float32))
    return tmp_path


@pytest.mark.parametrize("line", RUNS)
def test_commands_work_or_name_the_extra(line, folder):
    code = (
        "from dnn.commands import COMMANDS\n"
        "from ivector.base.commands import run_command\n"
        'sys.exit(run_command("dnn", COMMANDS))\n'
    )
    done = hidden(code, folder, *line.split())
    if RUNS[line]:
        assert done.returncode == 0, done.stderr
        return
    if RUNS[line] is None:
        assert done.returncode == 1 and "torch" not in done.stderr
        return
    assert done.returncode in (1, 2)
    (told,) = done.stderr.splitlines()
    assert re.match(r"python -m dnn\.\w+: error: ", told) and told.endswith(tuple(TOLD))


def test_every_command_is_among_them():
    assert {line.partition(" ")[0] for line in RUNS} == set(COMMANDS)


MODULES = """
import importlib, pkgutil
import dnn
from dnn.extra import MissingExtraError
names = ["dnn", *(found.name for found in pkgutil.walk_packages(dnn.__path__, "dnn."))]
told = set()
for name in names:
    try:
        module = importlib.import_module(name)
    except MissingExtraError as error:
        told.add(str(error))
        continue
    for public in getattr(module, "__all__", ()):
        try:
            getattr(module, public)
        except MissingExtraError as error:
            told.add(str(error))
config = dnn.configuration.PRESETS["train"].config()
for use in (
    lambda: dnn.build("ecapa"),
    lambda: dnn.build_loss("softmax", 2, 2),
    lambda: dnn.load_network("nowhere"),
    lambda: dnn.load_classifier("nowhere"),
    lambda: dnn.save_network("nowhere", None),
    lambda: dnn.identification.describe_machine("cpu"),
    lambda: importlib.import_module("dnn.training.checkpoint").load_checkpoint("nowhere"),
    lambda: importlib.import_module("dnn.formats.tensors").read_tensor("nowhere"),
    lambda: config.changed({"model.name": "ecapa"}).changed({"model.pooling": "average"}),
):
    try:
        use()
        told.add("nothing was told")
    except ValueError as error:
        told.add(str(error).removeprefix("model.pooling: "))
print(*told, sep="\\n")
"""


def test_modules_and_public_names_work_or_name_the_extra(tmp_path):
    done = hidden(MODULES, tmp_path)
    assert not done.returncode, done.stderr
    assert set(done.stdout.splitlines()) == TOLD
