"""Trainer: schedules, learning, bad numbers, memory, what does not go together."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


from training_cases import batches, make, speech

from dnn.data.augment import SpecAugment
from dnn.data.batches import CropBatches
from dnn.embedding.export import load_classifier, load_network
from dnn.training.checkpoint import load_checkpoint, save_checkpoint
from dnn.training.options import TrainingOptions
from dnn.training.scalars import ScalarLog, read_scalars
from dnn.training.schedules import StepDecay, WarmupCosine, build_schedule
from dnn.training.validation import (
    AccuracyValidation,
    TrialValidation,
    equal_error_rate,
)
from ivector.base.errors import DataError, UsageError


def test_schedules():
    cosine = WarmupCosine(2.0, 110, 10, final=0.5)
    assert [cosine(s) for s in (0, 4, 9)] == [0.2, 1.0, 2.0]
    assert cosine(10) == 2.0
    assert cosine(60) == pytest.approx(1.25)
    assert cosine(110) == cosine(500) == 0.5
    stairs = StepDecay(1.0, 10, 0.1, n_warmup=5)
    assert [round(stairs(s), 6) for s in (0, 4, 5, 14, 15, 25)] == [0.2, 1, 1, 1, 0.1, 0.01]
    constant = build_schedule("constant", peak=0.3)
    assert constant(0) == constant(10**6) == 0.3
    config = cosine.config()
    assert build_schedule(config["name"], **config["options"])(37) == cosine(37)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("cosine", {"peak": 0, "n_steps": 10}, "above 0"),
        ("cosine", {"peak": 1, "n_steps": 10, "n_warmup": 10}, "leaves none"),
        ("cosine", {"peak": 1, "n_steps": 10, "final": 2}, "between 0"),
        ("step", {"peak": 1, "every": 0}, "falls every"),
        ("linear", {"peak": 1}, "no schedule is called"),
    ],
)
def test_schedules_that_make_no_sense(name, options, text):
    with pytest.raises(UsageError, match=text):
        build_schedule(name, **options)


# Learning


def test_network_learns_and_is_exported(tmp_path):
    source, labels = speech(5)
    trainer = make(
        tmp_path, n_steps=40, validate_every=10, average_decay=0.8, speakers=list("abcdef"),
        validation=AccuracyValidation(source, labels),
    )  # fmt: skip
    outcome = trainer.fit()
    assert outcome.best > 0.8
    model, loss, speakers = load_classifier(tmp_path / "network")
    assert speakers == list("abcdef")
    measured = AccuracyValidation(source, labels)(model, loss, torch.device("cpu"))
    assert measured["accuracy"] == outcome.best
    assert not load_network(tmp_path / "network").training
    records = read_scalars(tmp_path / "scalars.jsonl")
    told = [r["validation_accuracy"] for r in records if "validation_accuracy" in r]
    assert max(told) == outcome.best and len(told) == 4
    losses = [r["loss"] for r in records if "loss" in r]
    assert losses[-1] < 0.5 * losses[0]
    assert load_checkpoint(tmp_path / "best.pt")["step"] <= 40


def test_accumulated_gradients_equal_those_of_the_batch(tmp_path):
    states = []
    for n_parts in (1, 3):
        trainer = make(tmp_path / str(n_parts), n_steps=1, accumulate=n_parts, clip_norm=0)
        for module in trainer.model.modules():  # these two depend on the parts, by design
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum, module.track_running_stats = 0.0, False
                module.running_mean = module.running_var = None
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        features = torch.randn(6, 25, 20, generator=torch.Generator().manual_seed(1))
        labels = torch.arange(6)
        trainer._objective = torch.nn.Module()
        objective = torch.nn.Linear(20, 6)
        torch.nn.init.ones_(objective.weight)

        def head(x, y, objective=objective):
            logits = objective(x.mean(1))
            return torch.nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum()

        trainer._objective = head
        loss, right = trainer._backward(features, labels)
        states.append((loss, right, objective.weight.grad))
    for one, two in zip(*states):
        torch.testing.assert_close(one, two)


def test_progress_is_logged(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dnn.training.steps.LOG_EVERY_S", 0.0)
    with caplog.at_level("INFO"):
        make(tmp_path, n_steps=3).fit()
    line = r"step 3/3, epoch 1\.50, loss \d+\.\d{4}, accuracy \d+\.\d %, \d+\.\d utt/s, ETA 0 s"
    assert re.search(line, caplog.text)


def test_clipped_gradient(tmp_path):
    trainer = make(tmp_path, n_steps=4, log_every=1, clip_norm=1e-3)
    trainer.fit()
    norm = torch.stack([p.grad.norm() for p in trainer._modules.parameters()]).norm()
    assert norm <= 1.001e-3
    assert all(r["gradient_norm"] > 1e-2 for r in read_scalars(tmp_path / "scalars.jsonl"))


def test_equal_error_rate():
    rng = np.random.default_rng(0)
    target, nontarget = rng.normal(2, 1, 20_000), rng.normal(0, 1, 30_000)
    assert equal_error_rate(target, nontarget) == pytest.approx(0.1587, abs=4e-3)
    assert equal_error_rate(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 0
    assert equal_error_rate(np.array([0.0]), np.array([1.0])) == 1
    assert equal_error_rate(np.zeros(5), np.zeros(9)) == pytest.approx(0.5)
    # Two points, (miss, false alarm) = (0, 1) and (2/3, 0), and the line between them.
    assert equal_error_rate(np.array([0.0, 0, 1]), np.zeros(3)) == pytest.approx(0.4)


# What goes wrong


def test_loss_that_is_not_finite_stops(tmp_path):
    # A GPU's steps go on until it is asked, see `Trainer`.
    trainer = make(tmp_path, n_steps=12, save_every=4, device="cpu")
    inner = trainer.batches.get

    def poisoned(step, rows=slice(None)):
        features, labels = inner(step, rows)
        return (features * np.float32(1e30) if step == 6 else features), labels

    trainer.batches.get = poisoned
    with pytest.raises(DataError, match=r"step 6: the loss is nan .* batch of s\d-u\d+, .* …; "):
        trainer.fit()
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["step"] == 4
    assert all(bool(v.isfinite().all()) for v in state["modules"].values())
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())


def test_batch_too_large_for_memory(tmp_path, monkeypatch):
    trainer = make(tmp_path, n_steps=2)
    forward = trainer.model.embed

    def limited(features, lengths):
        if len(features) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(features, lengths)

    monkeypatch.setattr(trainer.model, "embed", limited)
    with pytest.raises(DataError, match=r"12 utterances of \d+ frames.* 3 fit: .* into 4 parts"):
        trainer.fit()
    monkeypatch.setattr(trainer.model, "embed", lambda *_: limited(torch.zeros(9), None))
    with pytest.raises(DataError, match="not even one utterance"):
        trainer.fit()


def test_checkpoint_of_another_model_is_refused(tmp_path):
    make(tmp_path, n_steps=2).fit()
    with pytest.raises(DataError, match=r"another training: .*model\.name is 'xvector' here and "):
        make(tmp_path, n_steps=2, model="xvector").fit()
    with pytest.raises(DataError, match=r"loss\.name is 'softmax' here and 'aam-softmax' in the"):
        make(tmp_path, n_steps=2, loss="softmax").fit()
    with pytest.raises(DataError, match="speakers"):
        make(tmp_path, n_steps=2, speakers=list("uvwxyz")).fit()


def test_checkpoint_of_other_data_is_refused(tmp_path):
    make(tmp_path, n_steps=2).fit()
    source, labels = speech()
    others = {
        "utterances": CropBatches(source, labels[::-1], n_frames=(20, 30), batch_size=12, seed=4),
        "n_frames": batches(n_frames=(20, 40)),
        "augmentation": batches(augment=SpecAugment()),
    }
    for told, given in others.items():
        with pytest.raises(DataError, match=rf"another training: data\.{told} is "):
            make(tmp_path, given, n_steps=2).fit()


def test_fewer_steps_than_were_done_are_refused(tmp_path):
    make(tmp_path, n_steps=3).fit()
    with pytest.raises(DataError, match=r"has 3 steps already, 2 are asked for.*another folder"):
        make(tmp_path, n_steps=2).fit()


def test_changed_options_are_told(tmp_path, caplog):
    make(tmp_path, n_steps=2).fit()
    assert make(tmp_path, n_steps=3, n_workers=1).fit().step == 3
    assert "n_steps is 3 here and 2 in the checkpoint" in caplog.text
    assert "n_workers" not in caplog.text


def test_damaged_checkpoint_is_refused(tmp_path):
    make(tmp_path, n_steps=2).fit()
    state = load_checkpoint(tmp_path / "last.pt")
    del state["optimiser"]["param_groups"][0]
    save_checkpoint(tmp_path / "last.pt", state)
    with pytest.raises(DataError, match="damaged"):
        make(tmp_path, n_steps=2).fit()


def test_options_that_do_not_go_together(tmp_path):
    with pytest.raises(UsageError, match="compares the utterances"):
        make(tmp_path, loss="ge2e", accumulate=2)
    with pytest.raises(UsageError, match="5 speakers were named for 6"):
        make(tmp_path, speakers=list("abcde"))
    with pytest.raises(UsageError, match="no device is called"):
        make(tmp_path, device="abacus")
    for wrong in ({"n_steps": 0}, {"precision": "int3"}, {"clip_norm": -1.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            TrainingOptions(**{"n_steps": 1, **wrong})
    source, labels = speech()
    with pytest.raises(DataError, match="a label is 6, but the loss has 6 classes"):
        make(tmp_path, CropBatches(source, labels + 1, n_frames=20, batch_size=4))
    with pytest.raises(DataError, match="both kinds"):
        TrialValidation(source, [[0]], np.array([[0, 1]]), np.array([True]))
    with pytest.raises(DataError, match="utterance x of the trials has no features"):
        TrialValidation.from_lists(source, [("x", "s0-u0", True)])


def test_scalars_of_a_killed_run(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"step": 4, "loss": 1}\n{"step": 8, "loss": 2}\n{"step": 12, "lo')
    ScalarLog(path, 1).write(8, {"loss": 3.0})
    assert [(r["step"], r["loss"]) for r in read_scalars(path)] == [(4, 1), (8, 3.0)]
    path.write_text("nothing\n")
    with pytest.raises(DataError, match="line 1: not a record"):
        read_scalars(path)
