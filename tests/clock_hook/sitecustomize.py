"""Clocks that run backwards, for Python alone, which imports this module where it is on PYTHONPATH.

The clock of the day goes back by a minute every second. The steady ones, by which programs wait,
fall back by 0.4 s every second, as on no sound machine. The system's own waiting is left alone.
"""

import time

_day, _begun = time.time_ns, time.time_ns()


def _back_ns():
    now = _day()
    return now - (now - _begun) // 10**9 * 60 * 10**9


def _falling(clock):
    def told():
        now = clock()
        return now - 0.4 * (now // 1)

    return told


time.time_ns = _back_ns
time.time = lambda: _back_ns() / 1e9
time.monotonic, time.perf_counter = _falling(time.monotonic), _falling(time.perf_counter)
