"""Trainer: resuming to the same bytes, signals, bad numbers, memory, ranks, the command."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json
import multiprocessing
import os
import re
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import dnn_kill

from dnn.data.augment import SpecAugment
from dnn.data.batches import CropBatches
from dnn.data.prefetch import Prefetch
from dnn.data.sources import ArraySource
from dnn.embedding.export import load_classifier, load_network
from dnn.losses.classification import MarginSchedule
from dnn.losses.table import build_loss
from dnn.models import build
from dnn.scalars import ScalarLog, read_scalars
from dnn.training.checkpoint import load_checkpoint, save_checkpoint
from dnn.training.distributed import Ranks, joined
from dnn.training.options import TrainingOptions
from dnn.training.schedules import StepDecay, WarmupCosine, build_schedule
from dnn.training.trainer import Trainer
from dnn.training.validation import (
    AccuracyValidation,
    TrialValidation,
    Validations,
    equal_error_rate,
)
from ivector.base.errors import DataError, UsageError

N_SPEAKERS = 6


def speech(seed=0, n_each=5, nan_at=None):
    """Utterances (20 features) of six speakers that differ in their mean, and labels."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((N_SPEAKERS, 20))
    labels = np.repeat(np.arange(N_SPEAKERS), n_each)
    arrays = [
        (means[s] + 2 * rng.standard_normal((rng.integers(20, 70), 20))).astype(np.float32)
        for s in labels
    ]
    return ArraySource([f"s{s}-u{i}" for i, s in enumerate(labels)], arrays), labels


def batches(**options):
    source, labels = speech()
    return CropBatches(
        source, labels, **{"n_frames": (20, 30), "batch_size": 12, "seed": 4, **options}
    )


def make(folder, given=None, loss="aam-softmax", model="conformer", **options):
    """A trainer of a tiny network; conformers have dropout."""
    torch.manual_seed(1)
    sizes = {
        "conformer": {"n_features": 20, "dim": 16, "n_blocks": 1, "n_heads": 2, "kernel": 5},
        "xvector": {"n_features": 20, "channels": (16, 16, 16, 16, 24), "segment7_dim": 16},
    }
    network = build(model, embedding_dim=12, **sizes[model])
    head = build_loss(loss, network.head_dim, N_SPEAKERS)
    options = {"n_steps": 12, "log_every": 4, "save_every": 5, **options}
    keywords = {
        name: options.pop(name)
        for name in ("validation", "margin", "speakers", "device", "ranks")
        if name in options
    }
    schedule = WarmupCosine(5e-3, max(options["n_steps"], 12), 2)
    trainer = Trainer(
        network, head, given or batches(), folder, TrainingOptions(**options), schedule, **keywords
    )
    return trainer


def weights(folder):
    return (Path(folder) / "network" / "network.safetensors").read_bytes()


class StopAt:
    """Batches in whose making, at a step, a signal comes."""

    def __init__(self, inner, step, action):
        self.inner, self.step, self.action = inner, step, action

    def __getattr__(self, name):
        if name in ("inner", "step", "action"):  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __len__(self):
        return len(self.inner)

    def get(self, step, rows=slice(None)):
        if step == self.step:
            self.action()
        return self.inner.get(step, rows)


class Killed(Exception):
    pass


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


# Schedules


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


# Loader processes


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_loader_keeps_the_order(n_workers):
    given = batches()
    with Prefetch(given, 3, 20, n_workers) as loader:
        seen = 0
        for batch in loader:
            features, labels = given.get(batch.step)
            assert batch.step == 3 + seen
            assert np.array_equal(batch.features, features) and np.array_equal(batch.labels, labels)
            seen += 1
    assert seen == 17
    with Prefetch(given, 0, 4, n_workers, rows=slice(2, 5)) as loader:
        assert all(np.array_equal(b.features, given.get(b.step)[0][2:5]) for b in loader)


def test_loader_may_be_left_early():
    with Prefetch(batches(), 0, 100, 2) as loader:
        assert next(iter(loader)).step == 0


def fail():
    raise DataError("u7: its file is cut")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_errors_of_loader_processes_arrive():
    with Prefetch(StopAt(batches(), 5, fail), 0, 9, 2) as loader:
        with pytest.raises(DataError, match=r"^u7: its file is cut$"):
            list(loader)
    with Prefetch(StopAt(batches(), 5, die), 0, 9, 2) as loader:
        with pytest.raises(DataError, match="ended unexpectedly"):
            list(loader)
    with pytest.raises(UsageError, match="at least 0"):
        Prefetch(batches(), 0, 9, -1)


# Resuming


OPTIONS = {
    "plain": {},
    "all": {
        "average_decay": 0.9,
        "accumulate": 2,
        "n_workers": 2,
        "margin": MarginSchedule(0.3, 2, 9),
        "validate_every": 4,
        "speakers": list("abcdef"),
    },
    "sgd": {"optimiser": "sgd", "model": "xvector", "loss": "softmax"},
    "metric": {"loss": "angular-prototypical"},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_resumed_training_ends_with_the_same_bytes(tmp_path, kind):
    options = dict(OPTIONS[kind])
    given = batches(utterances_per_speaker=2 if kind == "metric" else None)
    if kind == "all":
        source, labels = speech(1, 2)
        trials = np.array([(i, j) for i in range(12) for j in range(i)])
        same = labels[trials[:, 0]] == labels[trials[:, 1]]
        by_trials = TrialValidation(source, [[i] for i in range(12)], trials, same)
        options["validation"] = Validations(AccuracyValidation(source, labels), by_trials)
    outcome = make(tmp_path / "whole", given, **options).fit()
    assert outcome.finished and outcome.step == 12
    resumed = tmp_path / "resumed"
    # Workers' batches are made ahead and elsewhere: there a signal would not hit the trainer.
    here = {**options, "n_workers": 0}
    stopped = make(resumed, StopAt(given, 3, terminate), **here).fit()
    assert not stopped.finished and stopped.step == 4
    with pytest.raises(Killed):
        make(resumed, StopAt(given, 8, kill), **here).fit()
    torch.manual_seed(12345)  # weights of the start, and the state outside, do not matter
    again = make(resumed, given, **options).fit()
    assert again == outcome
    assert weights(resumed) == weights(tmp_path / "whole")
    records = [read_scalars(f / "scalars.jsonl") for f in (tmp_path / "whole", resumed)]
    assert records[0] == records[1]
    assert (resumed / "curves.png").read_bytes()[:4] == b"\x89PNG"
    states = [load_checkpoint(f / "last.pt") for f in (tmp_path / "whole", resumed)]
    flat = [torch.utils._pytree.tree_leaves(state) for state in states]
    for one, two in zip(*flat, strict=True):
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def test_finished_training_is_not_repeated(tmp_path):
    first = make(tmp_path).fit()
    before = weights(tmp_path)
    assert make(tmp_path, StopAt(batches(), 0, kill)).fit() == first
    assert weights(tmp_path) == before


def test_outer_random_state_is_left_alone(tmp_path):
    trainer = make(tmp_path, n_steps=2)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trainer.fit()
    assert torch.equal(torch.rand(3), expected)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_seed_and_loader_processes(tmp_path):
    make(tmp_path / "a", n_steps=3).fit()
    make(tmp_path / "b", n_steps=3, n_workers=2).fit()
    make(tmp_path / "c", n_steps=3, seed=1).fit()
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_kills_at_random_moments(tmp_path):
    """The short form of ``python tests/dnn_kill.py``."""
    assert dnn_kill.run_trials(tmp_path, n_trials=2, seed=3) == 2


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
    monkeypatch.setattr("dnn._steps.LOG_EVERY_S", 0.0)
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
    trainer = make(tmp_path, n_steps=12, save_every=4)
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


# Several processes, and the command


def write_features(folder, n_each=4):
    """feats.scp, vad.scp and utt2spk of six speakers, and trials."""
    from ivector.formats.arks import ArkWriter

    source, labels = speech(2, n_each)
    with ArkWriter(folder / "feats") as feats, ArkWriter(folder / "vad") as vad:
        for i, key in enumerate(source.ids):
            frames = source.read(i)
            feats.write(key, frames)
            voiced = np.ones(len(frames), np.float32)
            voiced[::9] = 0
            vad.write(key, voiced)
    lines = "".join(f"{key} spk{s}\n" for key, s in zip(source.ids, labels))
    (folder / "utt2spk").write_text(lines)
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    named = {True: "target", False: "nontarget"}
    trials = "".join(
        f"{source.ids[i]} {source.ids[j]} {named[bool(labels[i] == labels[j])]}\n" for i, j in pairs
    )
    (folder / "trials").write_text(trials)


def command(folder, *more):
    return [
        "-m", "dnn.train", "--features", str(folder / "feats.scp"), "--vad",
        str(folder / "vad.scp"), "--utt2spk", str(folder / "utt2spk"), "--out",
        str(folder / "exp"), "--steps", "4", "--batch-size", "8", "--frames", "18", "24",
        "--threads", "1", "--save-every", "2", "--model-option", "channels=[16,16,16,16,24]",
        *more,
    ]  # fmt: skip


def rank_main(folder, rank, port, stop_at, told):
    """A process as torchrun starts it."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost",
        MASTER_PORT=str(port),
    )  # fmt: skip
    with joined() as ranks:
        given = batches()
        if rank == 1 and stop_at is not None:
            given = StopAt(given, stop_at, terminate)
        told.send(make(folder, given, n_steps=6, accumulate=2, ranks=ranks).fit().step)


def train_by_two(folder, stop_at=None):
    """Steps that each of two processes reached."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes, pipes = [], []
    for rank in range(2):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (folder, rank, port, stop_at, theirs)
        processes.append(context.Process(target=rank_main, args=arguments))
        processes[-1].start()
        theirs.close()
        pipes.append(ours)
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0]
    return [pipe.recv() for pipe in pipes]


def test_two_processes_train_together(tmp_path):
    assert train_by_two(tmp_path / "whole") == [6, 6]
    # A signal to one of them stops both, at the same step.
    assert train_by_two(tmp_path / "resumed", stop_at=2) == [3, 3]
    assert train_by_two(tmp_path / "resumed") == [6, 6]
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole")
    assert load_network(tmp_path / "whole" / "network").embedding_dim == 12


def test_rows_of_a_rank():
    assert Ranks(1, 3).rows(12) == slice(4, 8)
    with pytest.raises(UsageError, match="does not divide among 5 processes"):
        Ranks(0, 5).rows(12)


def test_command(tmp_path, capsys):
    from dnn import train

    write_features(tmp_path)
    argv = command(tmp_path, "--held-out", "1", "--trials", str(tmp_path / "trials"))[2:]
    assert train.main(train.build_parser().parse_args(argv)) == 0
    config = json.loads((tmp_path / "exp" / "network" / "config.json").read_text())
    assert config["speakers"] == [f"spk{i}" for i in range(6)]
    assert config["vad"] is True and config["model"]["options"]["channels"][-1] == 24
    measured = [r for r in read_scalars(tmp_path / "exp" / "scalars.jsonl") if len(r) == 3]
    assert {"validation_eer", "validation_accuracy"} <= measured[-1].keys()


def test_command_stopped_by_sigterm_exits_with_75(tmp_path, monkeypatch):
    from dnn import train
    from ivector.base.cli import run

    write_features(tmp_path)
    get = CropBatches.get
    calls = []

    def signalled(self, step, rows=slice(None)):
        calls.append(step)
        if calls == [0, 1]:
            terminate()
        return get(self, step, rows)

    monkeypatch.setattr(CropBatches, "get", signalled)
    arguments = command(tmp_path)[2:]
    assert run(train.build_parser(), train.main, arguments) == train.STOPPED == 75
    assert run(train.build_parser(), train.main, arguments) == 0
    assert calls == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (["--frames", "5"], 2, "at least 15 frames"),
        (["--frames", "30", "20"], 2, "least and the largest"),
        (["--loss", "ge2e"], 2, "--per-speaker"),
        (["--model-option", "channels"], 2, "NAME=VALUE"),
        (["--model-option", "widths=3"], 2, "no option 'widths'"),
        (["--held-out", "4"], 1, "leaves none to train on"),
        (["--enroll", "x"], 2, "--trials only"),
        (["--features", "nowhere"], 1, "nowhere"),
        (["--lr", "0"], 2, "--lr"),
    ],
)
def test_command_with_mistakes(tmp_path, capsys, more, code, text):
    from dnn import train
    from ivector.base.cli import run

    write_features(tmp_path)
    try:
        assert run(train.build_parser(), train.main, command(tmp_path, *more)[2:]) == code
    except SystemExit as exit:
        assert exit.code == code
    assert text in capsys.readouterr().err.splitlines()[-1]
