"""Fixtures for all tests of the venues."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off ccxt's wait of 250 ms for the close of TLS connections, because these tests have none."""
    monkeypatch.setattr("ccxt.pro.Exchange.timeout_on_exit", 0)
