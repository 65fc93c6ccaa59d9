"""Short forms of ``kill_driver.py`` and ``kill_workers.py``: killed runs leave the same bytes."""

from importlib.util import find_spec

import kill_driver
import kill_workers
import numpy as np
import pytest
from kill_cases import SMALL

pytestmark = pytest.mark.slow

CORPUS = [*SMALL, "--prepare-options=--speakers 8 --sessions 4"]


def test_killed_recipe_continues_to_the_same_bytes(tmp_path):
    """The short form of ``python tests/kill_driver.py``."""
    tally = kill_driver.Tally()
    options = [*CORPUS, "--system", "ivector", "--stop-stage", "2", "--nj", "2"]
    rng = np.random.default_rng(0)
    kill_driver.run_set("short", options, 4, tmp_path / "short", rng, tally)
    assert tally.wrong == []
    told = [(how, str(step)) for _, how, step in tally.kills if how in kill_driver.STATUSES]
    # Both signals in every stage; again where one came as its stage was ending anyway.
    assert len(set(told)) == 2 * 3
    ways = [how for _, how, _ in tally.kills if how not in kill_driver.STATUSES]
    assert len(ways) >= 4 and {kill_driver.CHANGE, kill_driver.WORKER} <= set(ways)


@pytest.mark.skipif(not find_spec("distributed"), reason="Dask is not installed (extra scale)")
def test_killed_workers_change_no_byte(tmp_path):
    """The short form of ``python tests/kill_workers.py``."""
    plan = kill_workers.Plan(kills=2, restarts=1, interval=1.0, stop_stage=1)
    tally = kill_workers.run(CORPUS, 2, plan, tmp_path, seed=0)
    assert tally.wrong == []
    assert tally.kills >= 2 and tally.restarts == 1
