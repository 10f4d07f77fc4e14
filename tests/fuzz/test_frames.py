"""Frames: arbitrary bytes, arbitrary JSON, and good frames with one wrong or missing value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from aiohttp import WSMsgType
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.fuzz import junk
from tests.fuzz.lab import Lab
from tests.fuzz.wire import trade_message
from tests.properties import drawing
from tests.support import until

FUZZ = drawing(200, suppress_health_check=list(HealthCheck))

# Keys of a trade's row: a row with a wrong value of a NEEDED key, or without a DROPPED key, is bad. A row without a
# time is not bad: some venues send no time, so the trade counts as made now.
NEEDED = {"binance": ("p", "q"), "bybit": ("p", "v", "S", "s")}
DROPPED = {"binance": ("p", "q", "m"), "bybit": ("p", "v", "S", "s", "i")}


@pytest.fixture(scope="module", params=["binance", "bybit"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(request.param)
    yield lab
    lab.close()


@FUZZ
@given(st.data())
def test_a_trade_with_one_wrong_value_is_counted_as_bad_and_has_no_other_effect(lab: Lab, data: st.DataObject) -> None:
    """The row lacks a key, or one value has a wrong type or is nested junk, a huge number or NaN. The trades before and
    after the row are delivered."""
    row = data.draw(junk.spoiled(lab.bad("BTC"), NEEDED[lab.venue], DROPPED[lab.venue]))
    lab.run(lab.probe([json.dumps(trade_message(lab.venue, "BTC", row))], least_bad=1))


@FUZZ
@given(st.data())
def test_bad_rows_affect_no_good_ones(lab: Lab, data: st.DataObject) -> None:
    if lab.venue == "binance":
        return  # Binance's frames have one row
    rows = [data.draw(junk.spoiled(lab.bad("BTC"), NEEDED["bybit"], DROPPED["bybit"])) for _ in range(2)]
    lab.run(lab.probe([lab.good("BTC", *rows)], least_bad=2))


@FUZZ
@given(frames=st.lists(st.one_of(junk.anything, junk.texts, junk.octets), min_size=1, max_size=5))
def test_arbitrary_frames_deliver_no_events(lab: Lab, frames: list[str | bytes]) -> None:
    lab.run(lab.probe(frames))


@pytest.mark.parametrize("symbol", ["ETHUSDT", "NOPEUSDT", "btcusdt", ""])
def test_a_trade_of_another_market_is_not_delivered(lab: Lab, symbol: str) -> None:
    """In Bybit's frame, topic and row name different markets; in Binance's frame, the row names a market that is not
    subscribed."""
    if lab.venue == "binance" and symbol == "ETHUSDT":
        return  # in a Binance frame only the row names the market, so this is a good trade of ETH
    row = {**lab.bad("BTC"), "s": symbol}
    lab.run(lab.probe([json.dumps(trade_message(lab.venue, "BTC", row))]))


@pytest.mark.parametrize(
    "refusal",
    ['{"success":false}', '{"success":false,"ret_msg":"no"}', '{"code":"10001"}', '{"retCode":10016,"retMsg":"busy"}',
     '{"error":{"code":2,"msg":"Invalid request"}}', '{"error":{}}', '{"status":"500"}',
     '{"error":{"code":500,"msg":"internal"}}'],
)  # fmt: skip
def test_an_error_that_answers_no_request_ends_no_subscription(lab: Lab, refusal: str) -> None:
    """The error comes while data flows. Every subscription continues, and no channel is reported as unavailable."""
    lab.run(lab.probe([refusal] * 3))


BREAKING = {
    "text that is no UTF-8": (b"\xff\xfe{}", WSMsgType.TEXT),
    "a frame of 11 MB": (b"[" + b" " * 11_000_000 + b"]", WSMsgType.TEXT),
    "an unknown opcode": (b"", 5),
}


@pytest.mark.parametrize("what", BREAKING)
@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_protocol_error_ends_the_connection_and_loses_no_trade(venue: str, what: str) -> None:
    """The frame is too large or breaks RFC 6455, so the feed replaces the connection, and the stream continues."""

    async def replaced(lab: Lab) -> None:
        with suppress(ConnectionError):  # the feed closes the connection while the frame is sent
            await lab.send(BREAKING[what])  # type: ignore[arg-type] # an opcode that does not exist
        await lab.got.until_event("disconnected")
        await until(lambda: lab.dials == 2 and bool(lab.connections))
        await lab.send(lab.good("BTC"), lab.good("ETH"))
        await lab.arrived()
        await lab.got.until_event("connected", 2)
        assert lab.unhandled == []

    lab = Lab(venue)
    try:
        lab.run(replaced(lab))
    finally:
        lab.close()
