"""The README: its library example runs as it stands, on real speech; its tables are complete."""

import re
from pathlib import Path

import numpy as np
import pytest

from fusion import eer
from recipes.corpora import NAMES
from recipes.systems import STAGES, SYSTEMS

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.corpora
@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_library_example(corpora):
    hyke = corpora / "hyke"
    fold = hyke / "protocol/fold1"

    def path(utterance):
        return hyke / utterance.rsplit("_", 1)[0] / f"{utterance}.flac"

    train = [line.split() for line in (fold / "train.utt2spk").read_text().splitlines()]
    enroll = [line.split() for line in (fold / "enroll").read_text().splitlines()][:12]
    names = {
        "train_paths": [path(utt) for utt, _ in train],
        "train_speakers": [speaker for _, speaker in train],
        "enrol_paths": [path(utts[0]) for _, *utts in enroll],
        "test_paths": [path(f"{model}_2") for model, *_ in enroll],
    }
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    exec(compile(example, str(README), "exec"), names)
    scores = names["scores"]
    same = np.eye(len(enroll), dtype=bool)
    assert scores.shape == same.shape
    assert eer(scores[same], scores[~same]) < 0.2


def test_every_system_stage_and_corpus_is_named():
    text = README.read_text(encoding="utf-8")
    assert [name for name in SYSTEMS if f"`{name}`" not in text and f'"{name}' not in text] == []
    rows = re.findall(r"^\| (\d+)(?:–(\d+))? \|", text, re.M)
    numbers = [n for first, last in rows for n in range(int(first), int(last or first) + 1)]
    assert numbers == list(range(len(STAGES)))
    assert [name for name in NAMES if name not in text] == []
