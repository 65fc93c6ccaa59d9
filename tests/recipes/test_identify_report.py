"""The table of all systems on a closed set, from the records that they left."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from dnn.identification.identifier import Answers, measures
from ivector.base.errors import DataError
from recipes.identify_report import main, make_parser, read_systems

SPEED = {
    "parameters": 2_000_000, "instances_per_s": 20.0, "last_step": 40, "epochs": 4.0,
    "processor": "A processor", "cores": 4, "threads": 1, "torch": "2", "system": "Linux",
    "seconds": 60.0, "cpu_seconds": 30.0, "instances": 320, "validated": None,
}  # fmt: skip
OPTIONS = {
    "model": "vgg-m", "network": {}, "loss": "softmax", "margin": 0.2, "width": 1.0, "mask": False,
    "n_frames": 100, "batch_size": 8, "rate": 1e-3, "optimiser": "adamw", "precision": "auto",
    "seed": 0,
}  # fmt: skip
CLASSICAL = {
    "parameters": 5000, "training_seconds": 30.0, "training_cpu_seconds": 12.0, "processes": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A network that is right of 3 of 4, and a classical system that is right of all."""
    labels = np.array([0, 1, 1, 1])
    test, best = (
        measures(Answers(np.eye(2)[heard], 2.0, labels, 1.0), ["ann", "bob"])
        for heard in ([0, 1, 1, 0], labels)
    )
    told = {"step": 40, "options": OPTIONS,
            "identification": {"features": "spectrogram", "normalisation": "none"}}  # fmt: skip
    for name, record in (
        ("vgg-m/test/results", test),
        ("vgg-m/speed", SPEED),
        ("vgg-m/network/config", told),
        ("gmm-ubm/test/results", {**best, **CLASSICAL}),
    ):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    return tmp_path


def test_systems_stand_in_one_table_best_first(folder, capsys):
    main(make_parser().parse_args([str(folder)]))
    report = (folder / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith(("| GMM", "| VGG"))]
    assert [row.split(" | ")[1] for row in rows] == ["100.0", "75.0"]
    assert "| 2 | 1.0 | 0.5 | 2 | 4 |" in rows[1] and "| 0.5 | 0.2 |" in rows[0]
    assert "40 updates of 8 crops" in report and "GMM-UBM (MAP)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("vgg-m/test/results.json", "by_speaker"),
        ("vgg-m/test/results.json", "cpu_seconds"),
        ("gmm-ubm/test/results.json", "training_seconds"),
        ("vgg-m/speed.json", "instances"),
        ("vgg-m/network/config.json", "options"),
        ("vgg-m/network/config.json", "step"),
    ],
)
def test_records_that_are_incomplete_are_told_by_their_file(folder, file, name):
    record = json.loads((folder / file).read_text())
    del record[name]
    (folder / file).write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"{file}: not a complete .*again\): its {name} is None"):
        read_systems(folder)
