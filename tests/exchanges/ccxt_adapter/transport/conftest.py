"""Each transport in turn."""

from __future__ import annotations

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS, Transport, transport_for


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport | None:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return transport_for(request.param)
