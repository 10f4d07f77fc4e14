"""Valid rows in any spelling become events; other rows become None and never raise an error."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges import normalize
from exchanges.events import Candle, Quote, Ticker, TradeEvent

READ_AT = 1_723_075_200_500_000_000  # 2024-08-08 00:00:00.5 UTC, ns
NOW = READ_AT // 1_000_000

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**320),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=5),
    st.sampled_from(["", "nan", "inf", "-1", "0", "1_000", "1e400", "0x10", " 12.5 ", "٣", "sell", "9" * 5000]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=8)
)
TRADE = {
    "id": "7",
    "timestamp": NOW,
    "price": 61234.5,
    "amount": 0.25,
    "side": "sell",
    "takerOrMaker": None,
    "info": {},
}
TICKER = {
    "symbol": "BTC/USDT",
    "timestamp": NOW,
    "last": 110.0,
    "close": 110.0,
    "open": 100.0,
    "percentage": 10.0,
    "quoteVolume": 5000.0,
    "baseVolume": 50.0,
    "vwap": 100.0,
    "bid": 109.0,
    "bidVolume": 2.0,
    "ask": 111.0,
    "askVolume": 3.0,
    "info": {},
}
CANDLE = [NOW, 10.0, 12.0, 9.0, 11.0, 3.0]
NO_PRICE: list[Any] = [
    None,
    True,
    math.nan,
    math.inf,
    -math.inf,
    -1.0,
    0.0,
    0,
    -0.0,
    1e15,
    10**400,
    "",
    "abc",
    "nan",
    "1_0",
    [1.0],
    {},
    b"1",
]
NO_TIME: list[Any] = [True, math.nan, math.inf, -1, 0, 12345, NOW + 3 * 86_400_000, 10**30, "", "yesterday", [NOW], {}]


def as_trade(row: Any, scale: float = 1.0) -> TradeEvent | None:
    return normalize.trade(row, "BTC", "binance", READ_AT, scale)


def as_ticker(row: Any) -> Ticker | None:
    return normalize.ticker(row, "BTC", "binance", READ_AT)


def as_quote(row: Any) -> Quote | None:
    return normalize.quote(row, "BTC", "binance", READ_AT)


def as_candle(row: Any) -> Candle | None:
    return normalize.candle(row, "BTC", "1m", "binance", READ_AT, False)


def without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


def assert_sound(event: TradeEvent | Ticker | Quote | Candle | None) -> None:
    """Check the conditions that every delivered event must meet."""
    if event is None:
        return
    assert type(event.timestamp) is int
    assert event.timestamp <= NOW + 86_400_000
    positive: list[float | None]
    sizes: list[float | None]
    if isinstance(event, TradeEvent):
        positive, sizes = [event.price, event.quantity], []
        assert type(event.is_buyer_maker) is bool
        assert type(event.trade_id) is str
        assert event.timestamp > 1_200_000_000_000
    elif isinstance(event, Ticker):
        positive, sizes = [event.last, event.bid, event.ask], [event.volume_24h, event.bid_size, event.ask_size]
        assert event.change_24h is None or math.isfinite(event.change_24h)
    elif isinstance(event, Quote):
        positive, sizes = [event.bid, event.ask], [event.bid_size, event.ask_size]
        assert event.bid <= event.ask
    else:
        positive, sizes = [event.open, event.high, event.low, event.close], [event.volume]
        assert event.low <= min(event.open, event.close) <= max(event.open, event.close) <= event.high
    for value in positive:
        assert value is None or (type(value) is float and 0 < value < 1e15)
    for value in sizes:
        assert value is None or (type(value) is float and 0 <= value < math.inf)


# --- no row raises an error
# ---------------------------------------------------------------------------------------------------


@given(row=anything)
def test_no_row_of_any_shape_raises(row: Any) -> None:
    for function in (as_trade, as_ticker, as_quote, as_candle):
        assert_sound(function(row))
    normalize.milliseconds(row)


@given(key=st.sampled_from(sorted(TRADE)), value=anything, drop=st.booleans())
def test_a_trade_with_one_damaged_field_is_valid_or_none(key: str, value: Any, drop: bool) -> None:
    assert_sound(as_trade(without(TRADE, key) if drop else {**TRADE, key: value}))


@given(key=st.sampled_from(sorted(TICKER)), value=anything, drop=st.booleans())
def test_a_ticker_with_one_damaged_field_is_valid_or_none(key: str, value: Any, drop: bool) -> None:
    row = without(TICKER, key) if drop else {**TICKER, key: value}
    assert_sound(as_ticker(row))
    assert_sound(as_quote(row))


@given(index=st.integers(0, 5), value=anything)
def test_a_candle_with_one_damaged_field_is_valid_or_none(index: int, value: Any) -> None:
    row: list[Any] = list(CANDLE)
    row[index] = value
    assert_sound(as_candle(row))


# --- trades -----------------------------------------------------------------------------------------------------------


def test_a_trade_row_becomes_a_trade_with_the_same_values() -> None:
    assert as_trade(TRADE) == TradeEvent("BTC", 61234.5, 0.25, True, NOW, "binance", "7", READ_AT)
    bought = as_trade({**TRADE, "side": "buy"})
    assert bought is not None
    assert not bought.is_buyer_maker


@given(
    price=st.floats(min_value=1e-12, max_value=1e14),
    amount=st.floats(min_value=1e-12, max_value=9e13),
    side=st.sampled_from(["buy", "sell"]),
    timestamp=st.integers(min_value=1_300_000_000_000, max_value=NOW),
    trade_id=st.one_of(st.integers(0, 10**30).map(str), st.uuids().map(str)),
    scale=st.sampled_from([1.0, 0.01, 10.0]),
)
def test_other_spellings_of_a_row_give_the_same_trade(
    price: float, amount: float, side: str, timestamp: int, trade_id: str, scale: float
) -> None:
    row = {"id": trade_id, "timestamp": timestamp, "price": price, "amount": amount, "side": side}
    expected = as_trade(row, scale)
    assert expected == TradeEvent("BTC", price, amount * scale, side == "sell", timestamp, "binance", trade_id, READ_AT)
    spelled = {
        **row,
        "timestamp": str(timestamp),
        "price": repr(price),
        "amount": f" {amount!r} ",
        "side": side.upper(),
    }
    assert as_trade(spelled, scale) == expected


@pytest.mark.parametrize("key", ["price", "amount"])
@pytest.mark.parametrize("value", NO_PRICE, ids=repr)
def test_a_trade_without_a_valid_price_and_quantity_is_dropped(key: str, value: Any) -> None:
    assert as_trade({**TRADE, key: value}) is None
    assert as_trade(without(TRADE, key)) is None


@pytest.mark.parametrize("value", NO_TIME, ids=repr)
def test_a_trade_with_an_invalid_time_is_dropped(value: Any) -> None:
    assert as_trade({**TRADE, "timestamp": value}) is None


@pytest.mark.parametrize("side", [None, "", "unknown", True, 1, [], {}])
def test_a_trade_without_a_side_is_dropped(side: Any) -> None:
    assert as_trade({**TRADE, "side": side}) is None
    assert as_trade(without(TRADE, "side")) is None


@pytest.mark.parametrize("row", [None, [], "trade", 1, (1, 2), {}, [TRADE]])
def test_a_trade_row_of_another_shape_is_dropped(row: Any) -> None:
    assert as_trade(row) is None


def test_a_trade_without_a_timestamp_gets_the_time_at_which_it_was_read() -> None:
    for row in (without(TRADE, "timestamp"), {**TRADE, "timestamp": None}):
        event = as_trade(row)
        assert event is not None
        assert event.timestamp == NOW
    assert normalize.trade(without(TRADE, "timestamp"), "BTC", "x", 0) is None  # 0: no local time


def test_old_trades_are_accepted() -> None:
    event = normalize.trade({**TRADE, "timestamp": 1_500_000_000_000}, "BTC", "x", READ_AT + 10**17)
    assert event is not None
    assert event.timestamp == 1_500_000_000_000


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("abc-1", "abc-1"),
        (17, "17"),
        (10**26 + 1, "1" + "0" * 25 + "1"),
        (17.0, "17"),
        (2.0**60, ""),
        (1.5, ""),
        (math.nan, ""),
        (math.inf, ""),
        ("1.0234567890123457e+26", ""),
        ("1e+26", ""),
        ("cafe+1", "cafe+1"),
        pytest.param(10**5000, "", id="5001 digits"),
        (None, ""),
        (True, ""),
        ([1], ""),
    ],
)
def test_a_trade_id_is_exact_or_empty(given_id: Any, expected: str) -> None:
    event = as_trade({**TRADE, "id": given_id})
    assert event is not None
    assert event.trade_id == expected


def test_a_trade_without_an_id_is_accepted() -> None:
    event = as_trade(without(TRADE, "id"))
    assert event is not None
    assert event.trade_id == ""


def test_the_contract_size_multiplies_the_quantity() -> None:
    event = as_trade({**TRADE, "amount": 3}, scale=0.01)
    assert event is not None
    assert event.quantity == 3 * 0.01
    assert as_trade({**TRADE, "amount": 1e-300}, scale=1e-300) is None


# --- tickers and quotes -----------------------------------------------------------------------------------------------


def test_a_ticker_row_becomes_a_ticker_with_the_same_values() -> None:
    assert as_ticker(TICKER) == Ticker("BTC", 110.0, NOW, 5000.0, 10.0, 109.0, 2.0, 111.0, 3.0, "binance", READ_AT)


def test_missing_values_of_a_ticker_are_computed_from_other_values() -> None:
    row = without(TICKER, "last", "quoteVolume", "percentage", "timestamp")
    event = as_ticker(row)
    assert event is not None
    assert (event.last, event.timestamp, event.volume_24h) == (110.0, 0, 5000.0)
    assert event.change_24h == pytest.approx(10.0)
    event = as_ticker(without(row, "vwap"))
    assert event is not None
    assert event.volume_24h == 50.0 * 110.0
    event = as_ticker(without(row, "baseVolume", "open", "bid", "bidVolume", "ask", "askVolume"))
    assert event == Ticker("BTC", 110.0, 0, exchange="binance", received_at=READ_AT)


def test_a_negative_change_and_a_zero_turnover_are_valid() -> None:
    event = as_ticker({**TICKER, "percentage": "-3.5", "quoteVolume": "0"})
    assert event is not None
    assert (event.change_24h, event.volume_24h) == (-3.5, 0.0)


@pytest.mark.parametrize("value", NO_PRICE, ids=repr)
def test_a_ticker_without_a_last_price_is_dropped(value: Any) -> None:
    assert as_ticker({**TICKER, "last": value, "close": value}) is None


@pytest.mark.parametrize("value", NO_TIME, ids=repr)
def test_tickers_quotes_and_candles_with_an_invalid_time_are_dropped(value: Any) -> None:
    assert as_ticker({**TICKER, "timestamp": value}) is None
    assert as_quote({**TICKER, "timestamp": value}) is None
    assert as_candle([value, *CANDLE[1:]]) is None


def test_a_quote_needs_both_prices_but_neither_sizes_nor_a_time() -> None:
    assert as_quote(TICKER) == Quote("BTC", 109.0, 2.0, 111.0, 3.0, NOW, "binance", READ_AT)
    assert as_quote({"bid": "109", "ask": 111}) == Quote("BTC", 109.0, 0.0, 111.0, 0.0, 0, "binance", READ_AT)
    assert as_quote({"bid": 109.0}) is None
    assert as_quote({**TICKER, "bid": 111.5}) is None  # bid above ask
    assert as_quote({**TICKER, "bidVolume": -1.0}) is None


# --- candles ----------------------------------------------------------------------------------------------------------


def test_an_ohlcv_row_becomes_a_candle_with_the_same_values() -> None:
    expected = Candle("BTC", "1m", NOW, 10.0, 12.0, 9.0, 11.0, 3.0, False, "binance", READ_AT)
    assert as_candle(CANDLE) == expected
    assert as_candle([str(value) for value in CANDLE[:1]] + [repr(value) for value in CANDLE[1:]]) == expected
    assert as_candle([*CANDLE, "extra"]) == expected


@pytest.mark.parametrize("index", [1, 2, 3, 4])
@pytest.mark.parametrize("value", NO_PRICE, ids=repr)
def test_a_candle_with_an_invalid_price_is_dropped(index: int, value: Any) -> None:
    row: list[Any] = list(CANDLE)
    row[index] = value
    assert as_candle(row) is None


@pytest.mark.parametrize(
    "row",
    [CANDLE[:5], [*CANDLE[:5], None], [*CANDLE[:5], -1.0], [NOW, 10, 9, 12, 11, 1], [NOW, 13, 12, 9, 11, 1], None, {}],
)
def test_a_candle_without_volume_or_with_contradictory_prices_is_dropped(row: Any) -> None:
    assert as_candle(row) is None


def test_a_candle_without_trades_is_valid() -> None:
    event = as_candle([NOW, 10, 10, 10, 10, 0])
    assert event is not None
    assert event.volume == 0.0


# --- times ------------------------------------------------------------------------------------------------------------


@given(moment=st.integers(min_value=1_230_768_000_000, max_value=4_102_444_799_999))
def test_every_unit_of_time_is_recognised(moment: int) -> None:
    assert normalize.milliseconds(moment) == moment
    assert normalize.milliseconds(float(moment)) == moment
    assert normalize.milliseconds(str(moment)) == moment
    assert normalize.milliseconds(moment // 1000) == moment // 1000 * 1000
    assert normalize.milliseconds(f"{moment / 1000:.3f}") == moment
    assert normalize.milliseconds(moment * 1000 + 999) == moment
    assert normalize.milliseconds(str(moment * 1_000_000 + 999_999)) == moment


@pytest.mark.parametrize("value", [*NO_TIME[:6], 1_000_000_000, 10**30, "", "2024-08-08", None, "9" * 5000])
def test_an_invalid_time_gives_none(value: Any) -> None:
    assert normalize.milliseconds(value) is None


@pytest.mark.parametrize("odd", ["1\x1b[31m", "\u202e12", "1\x9b", "1\n2", "1" * 10_000])
def test_an_id_that_cannot_be_printed_is_left_empty(odd: str) -> None:
    """Printed in a terminal, the id could move the cursor or reverse the direction of writing."""
    row = {"id": odd, "timestamp": READ_AT // 1_000_000, "price": 1.0, "amount": 1.0, "side": "buy"}
    event = normalize.trade(row, "BTC", "binance", READ_AT)
    assert event is not None
    assert event.trade_id == ""
