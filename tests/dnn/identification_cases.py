"""The command on small sets, and toys: utterances, a classifier."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


from dnn.data.labelled import (
    LabelledSet,
)
from dnn.data.sources import ArraySource
from dnn.embedding.export import SpeakerClassifier
from dnn.identify import main, make_parser
from dnn.losses.table import build_loss
from dnn.models import build
from ivector.base.cli import run

SMALL = ("--width", "0.06", "--model-option", "n_blocks=1", "--batch-size", "12", "--threads", "1",
         "--lr", "5e-3", "--margin", "0.1", "--device", "cpu")  # fmt: skip


def identify(*words):
    """Exit code of the command."""
    return run(make_parser(), main, list(map(str, words)))


def fails(capsys, code, *words):
    """The message with which the command ends."""
    assert identify(*words) == code
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("python -m dnn.identify: error: ")
    return message


def toy(n_speakers=4, n_each=6, n_features=12, seed=0):
    """Utterances whose features' mean tells the speaker."""
    rng = np.random.default_rng(seed)
    means = 2 * np.random.default_rng(9).standard_normal((n_speakers, n_features))
    labels = np.tile(np.arange(n_speakers), n_each)
    arrays = [
        (means[s] + rng.standard_normal((rng.integers(20, 40), n_features))).astype(np.float32)
        for s in labels
    ]
    source = ArraySource([f"utt{i}" for i in range(len(labels))], arrays)
    return LabelledSet(source, labels, [f"s{i}" for i in range(n_speakers)])


def tiny_classifier(n_features=12, n_classes=4):
    torch.manual_seed(3)
    model = build("conformer", n_features=n_features, dim=8, n_blocks=1, n_heads=2, kernel=3)
    loss = build_loss("softmax", model.head_dim, n_classes)
    return SpeakerClassifier(model.eval(), loss.eval(), [f"s{i}" for i in range(n_classes)])
