"""For all tests of the venues."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """ccxt gives its TLS connections 250 ms to close, each time; there are none here."""
    monkeypatch.setattr("ccxt.pro.Exchange.timeout_on_exit", 0)
