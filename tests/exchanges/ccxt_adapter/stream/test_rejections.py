"""A profile recognizes the rejections in a venue's frames; each rejection is assigned to the market that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from exchanges.ccxt_adapter.stream import rejections
from exchanges.ccxt_adapter.stream.rejections import RejectionTracker, asking, names
from exchanges.venues.find import profile_of
from exchanges.venues.profile import Rejection

FRAMES = [
    (
        "bitfinex",
        {"channel": "trades", "symbol": "tNOPE", "event": "error", "msg": "symbol: invalid", "code": 10300},
        Rejection("symbol: invalid", channel="trades"),
    ),
    (
        "kraken",
        {"error": "Currency pair not supported A/B", "method": "subscribe", "success": False, "symbol": "A/B"},
        Rejection("Currency pair not supported A/B", alone=True),
    ),
    (
        "kucoin",
        {"id": "1", "type": "error", "code": 404, "data": "topic /market/match:A-B is not found"},
        Rejection("topic /market/match:A-B is not found"),
    ),
    ("coinbase", {"type": "error", "message": "A-B is not a valid product"}, Rejection("A-B is not a valid product")),
    (
        "bitstamp",
        {"event": "bts:error", "channel": "", "data": {"code": None, "message": "Bad subscription string."}},
        Rejection("Bad subscription string.", unnamed=True),
    ),
    (
        "gemini",
        {"result": "error", "reason": "NoValidTradingPairs"},
        Rejection("NoValidTradingPairs", unnamed=True),
    ),
]


@pytest.mark.parametrize(("name", "frame", "refusal"), FRAMES)
def test_a_rejection_that_ccxt_ignores_is_recognized(name: str, frame: Any, refusal: Rejection) -> None:
    assert profile_of(name).rejection(frame) == refusal


ANSWERS: list[Any] = [{}, {"event": "subscribed"}, {"type": "ack"}, {"method": "subscribe", "success": True}]


@pytest.mark.parametrize("frame", ANSWERS)
@pytest.mark.parametrize("name", [name for name, _, _ in FRAMES])
def test_messages_that_refuse_nothing_are_not_read_as_rejections(name: str, frame: Any) -> None:
    assert profile_of(name).rejection(frame) is None


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        ({"message": "ETH-USD is not a valid product"}, True),
        ({"message": "STETH-USD is not a valid product"}, False),
        ({"message": "ETH-USDC is not a valid product"}, False),
        ({"topic": "/market/match:BTC-USD,ETH-USD"}, True),
        ({"symbol": "ETH/USD"}, True),
        ({"key": "trade:1m:ETH-USD"}, True),
        ({"message": "busy"}, False),
        (None, False),
    ],
)
def test_a_rejection_names_a_market_by_id_or_symbol_as_a_whole_word(frame: Any, named: bool) -> None:
    assert names(frame, ("ETH/USD", "ETH-USD", None)) is named


async def test_only_recent_request_numbers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings are requests with numbers too, so all numbers together would fill the memory."""
    monkeypatch.setattr(rejections, "REQUESTS", 3)

    class Client:
        subscriptions: Mapping[str, Any] = {}

        async def send(self, message: Any) -> None: ...

    tracker, client = RejectionTracker(), Client()
    tracker.keep(client)
    asking.set("a call")
    for number in range(5):
        await client.send({"req_id": number})
    assert [tracker.asker({"req_id": number}) for number in range(5)] == [None, None, "a call", "a call", "a call"]


class Venue:
    """A client that sends its requests to nobody, with the tracker of these requests."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, Any] = {}
        self.tracker = RejectionTracker()
        self.tracker.keep(self)
        self.accepted: set[str] = set()

    async def send(self, message: Any) -> None:
        """Do nothing; the request counts as sent."""

    async def asked(self, *calls: str) -> None:
        for call in calls:
            asking.set(call)
            await self.send({"subscribe": call})

    def blamed(self) -> dict[str, str]:
        return self.tracker.blamed(self.accepted.__contains__)


async def test_a_rejection_without_a_name_belongs_to_the_only_request_without_an_answer() -> None:
    """The venue may answer the requests in any order."""
    venue = Venue()
    await venue.asked("A", "B", "C")
    venue.accepted.add("A")
    venue.tracker.unnamed.append("bad")
    assert venue.blamed() == {}
    venue.accepted.add("C")
    assert venue.blamed() == {"B": "bad"}
    assert venue.blamed() == {}


async def test_if_there_are_as_many_rejections_as_open_requests_all_open_requests_are_rejected() -> None:
    venue = Venue()
    await venue.asked("A", "B")
    venue.tracker.unnamed += ["bad", "worse"]
    assert venue.blamed() == {"A": "bad", "B": "worse"}


async def test_an_error_that_comes_without_open_requests_rejects_no_later_request() -> None:
    venue = Venue()
    await venue.asked("A")
    venue.accepted.add("A")
    venue.tracker.unnamed.append("something else")
    assert venue.blamed() == {}
    await venue.asked("B")
    assert venue.blamed() == {}
