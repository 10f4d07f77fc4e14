"""Events are written as JSON for the bus, and read back without a change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.bus import payloads
from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent

EVENTS = {
    "trade": TradeEvent("BTC", 1.5, 2.0, True, 3, "binance", "4", 5, False, "BTC/USDT"),
    "ticker": Ticker("BTC", 1.5, 3, None, 0.1),
    "candle": Candle("BTC", "1m", 0, 1.0, 2.0, 0.5, 1.5, 7.0, True),
    "quote": Quote("BTC", 1.0, 2.0, 3.0, 4.0, 5),
    "book": OrderBook("BTC", [(1.0, 2.0)], [(3.0, 4.0)], 5, sequence=None),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_is_equal_after_writing_and_reading(kind: str) -> None:
    event = EVENTS[kind]
    for payload in (payloads.event(kind, event), payloads.writer(kind)(event)):
        assert json.loads(payload)["type"] == kind
        assert payloads.read(kind, payload) == event


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"coin":1}', b'{"type":"trade","coin":"BTC"}', b"\xff"])
def test_an_invalid_trade_raises_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is msgspec's
        payloads.read("trade", payload)


def test_fields_of_a_later_version_are_ignored() -> None:
    payload = payloads.event("trade", EVENTS["trade"])[:-1] + b',"new":{"a":1}}'
    assert payloads.read("trade", payload) == EVENTS["trade"]


HALF = "\ud83d"  # half of a surrogate pair: a text that an exchange has cut may end with such a half


def test_an_event_with_half_a_surrogate_pair_is_still_json() -> None:
    event = TradeEvent("BTC", 1.5, 2.0, True, 3, "binance", f"4{HALF}", 5, False, "BTC/USDT")
    for payload in (payloads.event("trade", event), payloads.writer("trade")(event)):
        found = payloads.read("trade", payload)
        assert (found.trade_id, found.price, found.backfilled) == ("4\\ud83d", 1.5, False)
    details: dict[Any, Any] = {"reason": HALF, "attempt": 3, 7: [None, {"é": HALF}]}
    status = json.loads(payloads.status("error", details))
    assert status == {
        "type": "status",
        "event": "error",
        "details": {"reason": "\\ud83d", "attempt": 3, "7": [None, {"é": "\\ud83d"}]},
    }
