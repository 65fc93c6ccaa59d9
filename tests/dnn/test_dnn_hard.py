"""Trainings that look at themselves: batches of hard speakers, and an end by patience."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from training_cases import Killed, StopAt, kill, make, speech, weights

from dnn.configuration import PRESETS
from dnn.configuration.sections import check_together
from dnn.data.hard import HardBatches
from dnn.data.labelled import LabelledSet
from dnn.data.sources import ArraySource
from dnn.losses.metric import Triplet
from dnn.training.builder import build_trainer
from dnn.training.checkpoint import load_checkpoint
from ivector.base.errors import DataError, UsageError

# Three pairs of speakers, each pair in a direction of its own.
DIRECTIONS = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1], [0, 0, 1], [0.1, 0, 1]])


def means(_model, source):
    return np.stack([source.read(i).mean(axis=0) for i in range(len(source.ids))])


def hard(folder, every=3, each=4, **options):
    labels = np.repeat(np.arange(6), each)
    arrays = [np.tile(DIRECTIONS[s], (20, 1)).astype(np.float32) for s in labels]
    source = ArraySource([f"s{s}-{i}" for i, s in enumerate(labels)], arrays)
    given = {"n_frames": 10, "batch_size": 8, "utterances_per_speaker": 2, **options}
    return HardBatches(source, labels, every=every, folder=folder, embed=means, **given)


def test_speakers_meet_those_that_they_are_taken_for(tmp_path):
    batches = hard(tmp_path)
    for step in range(4):
        batches.refresh(step, None)
    assert sorted(p.name for p in (tmp_path / "hard").iterdir()) == ["0.npy", "3.npy"]
    for step in range(3, 9):
        labels = batches.labels[batches.utterances(step)].reshape(4, 2)
        assert (labels[:, 0] == labels[:, 1]).all()
        speakers = labels[:, 0]
        assert len(set(speakers)) == 4
        assert (speakers[::2] // 2 == speakers[1::2] // 2).all()  # each beside its like
    rows = batches.utterances(5)
    assert len(set(rows)) == 8
    np.testing.assert_array_equal(rows, hard(tmp_path).utterances(5))
    with pytest.raises(DataError, match=r"6\.npy: missing or damaged"):
        batches.utterances(9)
    np.save(tmp_path / "hard" / "6.npy", np.array([[1]]))
    with pytest.raises(DataError, match="is of other speakers"):
        batches.utterances(9)


def test_batches_are_full_whatever_the_number_of_speakers(tmp_path):
    for size, each in ((12, 4), (6, 4), (10, 1)):
        batches = hard(tmp_path / f"{size}", batch_size=size, each=each)
        batches.refresh(0, None)
        rows = batches.utterances(3)
        assert len(rows) == size and len(set(batches.labels[rows])) == size // 2


def configuration(**values):
    return PRESETS["deep-speaker"].config().changed({
        "model.name": "xvector", "loss.name": "triplet", "batches.frames": (20,),
        "batches.batch_size": 8, "batches.per_speaker": 2, "batches.hard_every": 4,
        "model.options": {"channels": (16, 16, 16, 16, 24), "segment7_dim": 16},
        "training.steps": 12, "training.save_every": 5, "machine.device": "cpu",
        "machine.threads": 1, **values,
    })  # fmt: skip


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, workers):
    source, labels = speech()
    data = LabelledSet(source, labels, [f"s{i}" for i in range(6)])
    whole = configuration(**{"machine.workers": workers, "batches.hard_every": 5})
    build_trainer(whole, data, tmp_path / "whole").fit()
    assert sorted(p.stem for p in (tmp_path / "whole" / "hard").iterdir()) == ["0", "10", "5"]
    killed = build_trainer(configuration(**{"batches.hard_every": 5}), data, tmp_path / "killed")
    killed.batches = StopAt(killed.batches, 8, kill)
    with pytest.raises(Killed):
        killed.fit()
    assert load_checkpoint(tmp_path / "killed" / "last.pt")["step"] == 5
    build_trainer(whole, data, tmp_path / "killed").fit()
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    random = build_trainer(configuration(**{"batches.hard_every": 0}), data, tmp_path / "random")
    random.fit()
    assert weights(tmp_path / "random") != weights(tmp_path / "whole")


def test_options_that_do_not_go_with_hard_batches_are_refused():
    with pytest.raises(UsageError, match="give `per_speaker`"):
        values = {"loss.name": "softmax", "batches.per_speaker": 0}
        check_together(configuration(**values))
    with pytest.raises(UsageError, match="2 workers read batches ahead; give 9"):
        check_together(configuration(**{"machine.workers": 2}))


def test_random_negatives_are_others_of_the_batch():
    loss = Triplet(0.1, "random")
    embedding = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    others = labels[:, None] != labels
    anchor = torch.arange(6).repeat_interleave(50)
    chosen = loss._negatives(embedding @ embedding.T, others, anchor, anchor)
    assert others[anchor, chosen].all()
    assert all(set(chosen[anchor == a].tolist()) == set(others[a].nonzero()[:, 0].tolist())
               for a in range(6))  # fmt: skip
    with pytest.raises(UsageError, match="random"):
        Triplet(0.1, "any")


# Patience


class Told:
    """A validation whose measures are told in advance."""

    criterion, larger_is_better = "accuracy", True

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, model, loss, device):
        return {"accuracy": next(self.values)}


def test_a_training_ends_when_its_measure_has_not_risen(tmp_path):
    values = (0.1, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.3)
    options = {"n_steps": 20, "validate_every": 2, "save_every": 3}
    outcome = make(tmp_path / "a", validation=Told(values), patience=3, **options).fit()
    assert outcome.step == 16 and outcome.finished and outcome.best == 0.4
    # Done; asked again it measures nothing, and trains nothing.
    again = make(tmp_path / "a", validation=Told(()), patience=3, **options).fit()
    assert again.step == 16
    # Killed after the second of the three, it still waits for one more.
    trainer = make(tmp_path / "b", validation=Told(values), patience=3, **options)
    trainer.batches = StopAt(trainer.batches, 15, kill)
    with pytest.raises(Killed):
        trainer.fit()
    outcome = make(tmp_path / "b", validation=Told(values[6:]), patience=3, **options).fit()
    assert outcome.step == 16 and weights(tmp_path / "a") == weights(tmp_path / "b")
    whole = make(tmp_path / "c", validation=Told((*values, 0, 0)), **options).fit()
    assert whole.step == 20
