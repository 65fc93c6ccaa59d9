"""What tests give to worker processes to do; apart, so that a worker imports no test with it."""

import os
import signal
import time

from ivector.base.errors import DataError


def scaled(x, factor=1):
    time.sleep(0.02 * (x % 3))  # so that they do not end in their order
    return x * factor


def fail(x):
    if x == 3:
        raise DataError("the third shard is bad")
    if x == 4:
        raise OSError("no such disk")
    return x


def threads(_):
    import numpy as np
    from threadpoolctl import threadpool_info

    # A product loads what is to be limited.
    np.ones((64, 64)) @ np.ones((64, 64))
    return max(pool["num_threads"] for pool in threadpool_info())


def die_once(x, folder):
    """Kill the worker the first time that a shard of a certain number is seen."""
    mark = folder / str(x)
    if x in (1, 6) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def here(_):
    return os.getcwd()
