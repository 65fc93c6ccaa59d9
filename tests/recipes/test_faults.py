"""The short form of ``faults.py``: unreadable files, read-only folders, full disks."""

import sys

import faults
import pytest

pytestmark = pytest.mark.slow


def test_faults_of_the_system_end_in_a_line(capsys):
    if lack := faults.lacking(sys.executable):
        pytest.skip(lack)
    status = faults.main(["--job", "fusion", "--fault", "unreadable", "read-only", "full at 30%"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert said.count("\nfusion  ") == 3
