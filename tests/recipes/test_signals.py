"""Signals at the moments that no clock hits: as a stage begins, and as it ends."""

import subprocess
import sys

import pytest

HELD = """
import os, signal, sys
from recipes.engine.server import SIGNALS, obey_signals
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
os.kill(os.getpid(), signal.{name})
sys.exit(obey_signals(lambda: 0))
"""
LATE = """
import os, signal
from recipes.engine import server

def fork(*_):
    if child := os.fork():
        return child
    signal.signal(signal.{name}, signal.SIG_IGN)
    os.kill(os.getppid(), signal.{name})
    os._exit(0)

server._fork, server.stages, server.ANSWERS = fork, lambda _: [0], 1
server.obey_signals(lambda: server.serve(None))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 75)])
class TestMoments:
    def test_before_a_stage_can_obey(self, name, status):
        done = self.run(HELD, name)
        assert done.returncode == status
        assert done.stderr == "run.sh: stopped; the same command goes on from there\n"

    def test_when_a_stage_has_done_its_work(self, name, status):
        assert self.run(LATE, name).stdout == f"{status}\n"

    def run(self, script, name):
        words = [sys.executable, "-c", script.format(name=name)]
        return subprocess.run(words, input="0\n", capture_output=True, text=True, timeout=120)
