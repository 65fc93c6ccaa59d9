"""Fixtures every test may use: reference outputs and real speech, skipped where absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of Kaldi's reference outputs."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("Kaldi's reference outputs (../shared/golden) are not here")
    return SHARED / "golden"


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder of real speech with trial lists."""
    if not (SHARED / "corpora").is_dir():
        pytest.skip("the speech corpora (../shared/corpora) are not here")
    return SHARED / "corpora"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test said goes from its process to pytest's as UTF-8, also where it is not."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
