"""Fixtures every test may use: reference outputs and real speech, skipped where absent; order."""

from collections import Counter
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


@pytest.fixture(scope="session")
def seed_formats() -> Path:
    """Folder of files that the systems' own programs wrote."""
    if not (SHARED / "seed_formats").is_dir():
        pytest.skip("the originals' files (../shared/seed_formats) are not here")
    return SHARED / "seed_formats"


def pytest_collection_modifyitems(items):
    """Files with the most slow tests go first, so that none of them comes last, alone."""
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test said comes from its process as UTF-8, also where it is not."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
