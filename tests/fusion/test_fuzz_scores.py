"""The first cases of fuzz_scores.py: no traceback, no wrong exit status."""

import sys

import fuzz_scores
import pytest


@pytest.mark.slow
def test_damaged_files_of_every_sort():
    # No report: its plots take longer than everything else, and are drawn after all checks.
    fuzz_scores.COMMANDS.pop("report", None)
    counts, failures, _ = fuzz_scores.run_cases(1, range(1500))
    assert not failures, "\n".join(failures[:5])
    assert sum(counts.values()) == 1500
    assert set(counts) == set(fuzz_scores.COMMANDS)


def test_cases_depend_on_their_number_alone():
    first, again = (fuzz_scores.make(0, 7)[0] for _ in range(2))
    assert first == again and first != fuzz_scores.make(0, 8)[0]


def test_faults_are_found(monkeypatch, tmp_path):
    """Wrong status, faults of the program and messages without a file are told."""
    from fusion import evaluate
    from ivector.base.errors import DataError

    monkeypatch.chdir(tmp_path)
    arguments = ["scores", "trials"]
    case = fuzz_scores.Case({})

    def told(main):
        monkeypatch.setattr(evaluate, "main", main)
        return fuzz_scores.check(case, "evaluate", arguments, tmp_path)

    def fail(error):
        def main(arguments):
            raise error

        return main

    assert told(lambda arguments: 0) == ""
    assert "status 1, expected 0" in told(lambda arguments: 1)
    assert "status 70" in told(fail(IndexError("no")))
    case.measured = 1
    assert told(fail(DataError("scores, line 3: bad"))) == ""
    assert "names no file" in told(fail(DataError("bad")))
    two_lines = "scores: error:\nbad"
    assert "not one line" in told(lambda arguments: print(two_lines, file=sys.stderr) or 1)
    assert "status 0, expected 1" in told(lambda arguments: 0)
