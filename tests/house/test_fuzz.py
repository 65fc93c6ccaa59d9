"""The first cases of fuzz/run.py: no traceback, no hang, no wrong status, no memory."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")

from fuzz import run

KINDS = [kind for kind in run.KINDS if kind not in ("scores", "audio")]  # have tests of their own


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    with run.world():
        made = run.Fuzzer(0, KINDS, tmp_path_factory.mktemp("faults"))
        made.check_seeds()
        yield made


@pytest.mark.slow
def test_hostile_inputs_of_every_kind(fuzzer):
    results = list(run.run_all(fuzzer, 400, 2))
    assert [result.wrong for result in results if result.outcome == "fault"] == []
    assert sorted(result.number for result in results) == list(range(400))
    assert {result.outcome for result in results} == {"accepted", "refused"}


def test_faults_are_found(fuzzer, monkeypatch):
    """A library's exception, memory, a message without a file, a death and a hang are told."""
    import os
    import time

    import numpy as np

    from ivector.base.errors import DataError

    def fail():
        raise KeyError("x")

    def refuse():
        raise DataError("bad")

    assert run.judged(fail) == ("fault", "KeyError: 'x' ()")
    assert run.judged(refuse, "models/one.npz") == ("fault", "names no file: bad")
    assert run.judged(["fusion", "lint", "scores", "trials"])[0] == "accepted"
    monkeypatch.setattr("fuzz.seeds.command", lambda words: 70)
    assert run.judged(["fusion", "lint"])[0] == "fault"
    monkeypatch.setattr(run, "LIMIT_MB", -100)
    held = []
    assert "MiB" in run.limited(lambda: held.append(np.ones(1 << 26)) or ("accepted", ""))[1]
    monkeypatch.setattr(run, "LONGEST_S", 0.3)
    monkeypatch.setattr(type(fuzzer), "run", lambda self, n: os._exit(3) if n else time.sleep(9))
    told = {result.number: result.wrong for result in run.run_all(fuzzer, 2, 1)}
    assert told == {0: "case 0: takes more than 0.3 s", 1: "case 1: the process died"}
