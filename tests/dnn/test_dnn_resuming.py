"""Loader processes, resuming to the same bytes, signals, kills, ranks."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import multiprocessing
import os
import signal
import socket

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import dnn_kill
from training_cases import (
    Killed,
    StopAt,
    batches,
    kill,
    make,
    speech,
    terminate,
    weights,
)

from dnn.data.prefetch import Prefetch
from dnn.embedding.export import load_network
from dnn.losses.classification import MarginSchedule
from dnn.training.checkpoint import load_checkpoint
from dnn.training.distributed import Ranks, joined
from dnn.training.scalars import read_scalars
from dnn.training.validation import (
    AccuracyValidation,
    TrialValidation,
    Validations,
)
from ivector.base.errors import DataError, UsageError

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
    need_forks()
    assert dnn_kill.run_trials(tmp_path, n_trials=2, seed=3) == 2


# Several processes


def rank_main(folder, rank, port, stop_at, told):
    """A process as torchrun starts it."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost",
        MASTER_PORT=str(port),
    )  # fmt: skip
    torch.cuda.is_available = lambda: False  # Two processes have no GPU each, as a rule.
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


def need_forks():
    """Skip where this process has used a GPU, after which its forks cannot."""
    if torch.cuda.is_initialized():
        pytest.skip("a GPU was used in this process")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="--nproc-per-node=1"), joined():
        raise AssertionError


def test_two_processes_train_together(tmp_path):
    need_forks()
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
