"""A recording of a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.feed.replay.support import priced, record, trade


@pytest.fixture
def minute(tmp_path: Path) -> Path:
    """A recording of one trade per second for a minute, of two coins in turn."""
    record(tmp_path, priced([trade("BTC" if n % 2 else "ETH", float(n), 100.0 + n) for n in range(60)]))
    return tmp_path
