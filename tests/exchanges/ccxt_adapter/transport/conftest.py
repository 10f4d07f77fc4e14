"""Fixtures that run a test on each transport, and hide the environment's proxies and certificates."""

from __future__ import annotations

from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS, uses_picows

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(params=TRANSPORTS)
def over_picows(request: pytest.FixtureRequest) -> bool:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return uses_picows(request.param)


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return {"transport": request.param}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
