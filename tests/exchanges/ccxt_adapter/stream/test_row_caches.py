"""Row caches: each row is delivered when ccxt appends it, and memory does not grow."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from ccxt.async_support.base.ws.cache import ArrayCache
from ccxt.base.exchange import Exchange

from exchanges.ccxt_adapter.stream.row_caches import Latest, RowCache, RowCaches, in_rows, pushed

ROWS = [{"id": str(number)} for number in range(10_000)]


class Delivered(list[Any]):
    """A callback for a cache; it keeps the arguments of every call."""

    def __call__(self, *delivery: Any) -> None:
        self.append(delivery)


@pytest.fixture
def delivered() -> Delivered:
    return Delivered()


def test_appending_to_a_store_delivers_each_row_once_and_in_order(delivered: Delivered) -> None:
    stores = RowCaches(["BTC/USDT", "ETH/USDT"], delivered)
    for row in ROWS:
        stores["BTC/USDT"].append(row)
    stores["ETH/USDT"].append(ROWS[0])
    assert delivered == [*(("BTC/USDT", row) for row in ROWS), ("ETH/USDT", ROWS[0])]


def test_a_store_keeps_only_the_newest_row(delivered: Delivered) -> None:
    """Some of ccxt's handlers read the newest row."""
    store = RowCaches(["BTC/USDT"], delivered)["BTC/USDT"]
    for row in ROWS:
        store.append(row)
    assert store == [ROWS[-1]]
    assert store[-1] is ROWS[-1]
    assert store.hashmap == {}


def test_a_store_has_the_methods_that_ccxt_calls_on_its_caches(delivered: Delivered) -> None:
    store = RowCaches(["BTC/USDT"], delivered)["BTC/USDT"]
    public = {name for name in vars(ArrayCache) if not name.startswith("_")}
    assert public <= set(dir(store))
    assert store.getLimit("BTC/USDT", 5) == 5
    assert store.getLimit(None, None) is None


def test_reassigning_and_deleting_leave_the_store_in_place(delivered: Delivered) -> None:
    """ccxt's handlers assign the cache again at every frame, and un_watch deletes it."""
    stores = RowCaches(["BTC/USDT"], delivered)
    store = stores["BTC/USDT"]
    stores["BTC/USDT"] = ArrayCache(1000)
    del stores["BTC/USDT"]
    del stores["NOPE/USDT"]
    stores["BTC/USDT"].append(ROWS[0])
    assert stores["BTC/USDT"] is store
    assert delivered == [("BTC/USDT", ROWS[0])]


@pytest.mark.parametrize("get", [Exchange.safe_value, Exchange().safe_list], ids=["safe_value", "safe_list"])
def test_ccxts_own_code_finds_the_cache(delivered: Delivered, get: Any) -> None:
    stores = RowCaches(["BTC/USDT"], delivered)
    found = get(stores, "BTC/USDT")
    assert found is stores["BTC/USDT"]
    assert "BTC/USDT" in stores
    found.append(ROWS[0])
    assert delivered == [("BTC/USDT", ROWS[0])]


def test_a_symbol_that_nobody_wants_is_dropped(delivered: Delivered) -> None:
    stores = RowCaches(["BTC/USDT"], delivered)
    for number, row in enumerate(ROWS):
        symbol = f"COIN{number}/USDT"
        if symbol not in stores:
            stores[symbol] = ArrayCache(1000)
        stores[symbol].append(row)
    assert delivered == []
    assert list(stores) == ["BTC/USDT"]
    assert len(stores["COIN1/USDT"]) == 1


def test_an_assigned_ticker_is_delivered_and_the_newest_of_each_market_is_kept(delivered: Delivered) -> None:
    """ccxt's handlers merge a delta into the stored ticker, so even an unwanted market's ticker must be stored."""
    listed = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    tickers = Latest(["BTC/USDT"], listed, delivered)
    for number in range(100):
        for symbol in listed:
            tickers[symbol] = {"symbol": symbol, "last": number}
    assert delivered == [("BTC/USDT", {"symbol": "BTC/USDT", "last": number}) for number in range(100)]
    assert tickers == {symbol: {"symbol": symbol, "last": 99} for symbol in listed}
    assert tickers.last is tickers["BTC/USDT"]


def test_a_ticker_from_the_fast_decoder_is_found_in_the_store(delivered: Delivered) -> None:
    """The ticker is made once, when ccxt reads it. It is not delivered again, and the next ticker replaces it."""
    tickers = Latest(["BTC/USDT"], ["BTC/USDT"], delivered)
    tickers["BTC/USDT"] = {"last": 1}
    made = []

    def make(last: int) -> Any:
        made.append(last)
        return {"last": last}

    for last in (2, 3):
        tickers.stand("BTC/USDT", partial(make, last))
    assert Exchange.safe_value(tickers, "BTC/USDT") == {"last": 3}
    assert Exchange.safe_value(tickers, "BTC/USDT") is tickers["BTC/USDT"]
    assert Exchange.safe_value(tickers, "ETH/USDT") is None
    assert made == [3]
    tickers["BTC/USDT"] = {"last": 4}
    assert tickers["BTC/USDT"] == {"last": 4}
    assert delivered == [("BTC/USDT", {"last": 1}), ("BTC/USDT", {"last": 4})]


def test_a_ticker_without_a_market_is_an_error(delivered: Delivered) -> None:
    """If the ticker were kept, a venue that invents names would fill the memory. The guard counts the error as a bad
    frame."""
    tickers = Latest(["BTC/USDT"], ["BTC/USDT"], delivered)
    with pytest.raises(KeyError, match="not listed"):
        tickers["NOPE"] = {"last": 1}
    assert tickers == {}


def test_candles_are_delivered_with_their_timeframe(delivered: Delivered) -> None:
    candles = RowCaches(["BTC/USDT"], delivered, lambda of_symbol: RowCaches(["1m", "5m"], of_symbol))
    # as in ccxt's handlers: first a dict for the symbol, then in it a cache for the timeframe
    candles["BTC/USDT"] = Exchange.safe_value(candles, "BTC/USDT", {})
    for timeframe in ("1m", "5m", "1h"):
        if Exchange.safe_value(candles["BTC/USDT"], timeframe) is None:
            candles["BTC/USDT"][timeframe] = ArrayCache(1000)
        candles["BTC/USDT"][timeframe].append([1, timeframe])
    candles["NOPE/USDT"] = {}
    candles["NOPE/USDT"]["1m"].append([1, "1m"])
    del candles["BTC/USDT"]
    candles["BTC/USDT"]["1m"].append([2, "1m"])
    assert delivered == [
        ("BTC/USDT", "1m", [1, "1m"]),
        ("BTC/USDT", "5m", [1, "5m"]),
        ("BTC/USDT", "1m", [2, "1m"]),
    ]


def test_a_delivered_row_resolves_no_future(delivered: Delivered) -> None:
    """The test has all forms in which ccxt's modules resolve stored rows."""
    store = RowCaches(["BTC/USDT"], delivered)["BTC/USDT"]
    tickers = Latest(["BTC/USDT", "ETH/USDT"], ["BTC/USDT", "ETH/USDT"], delivered)
    tickers["ETH/USDT"] = {"last": 2}
    tickers["BTC/USDT"] = {"last": 1}
    latest = (tickers, Latest([], [], delivered))
    assert pushed(store, latest)
    assert pushed(["BTC/USDT", "1m", store], latest)
    assert pushed(tickers["BTC/USDT"], latest)
    assert pushed({"BTC/USDT": tickers["BTC/USDT"], "ETH/USDT": tickers["ETH/USDT"]}, latest)


@pytest.mark.parametrize("result", [None, True, "pong", [], {}, {"last": 1}, {"BTC/USDT": {"last": 1}}, [1, 2], 7.5])
def test_a_result_that_is_no_delivered_row_resolves_its_future(delivered: Delivered, result: Any) -> None:
    """Answers to requests may have any form; a result that is equal to a row, but is not the same object, is no row."""
    tickers = Latest(["BTC/USDT"], ["BTC/USDT"], delivered)
    latest = (tickers, Latest([], [], delivered))
    assert not pushed(result, latest)
    tickers["BTC/USDT"] = {"last": 1}
    assert not pushed(result, latest)


def test_a_frame_is_split_into_frames_of_one_row() -> None:
    frame = {"topic": "publicTrade.BTCUSDT", "ts": 1, "data": [{"i": "1"}, None, {"i": "3"}]}
    assert list(in_rows(frame)) == [{**frame, "data": [row]} for row in frame["data"]]  # type: ignore[attr-defined] # the value can be of any type


@pytest.mark.parametrize("frame", [None, "pong", [1, 2], {}, {"data": {}}, {"data": []}, {"data": [1]}])
def test_a_frame_without_several_rows_is_not_split(frame: Any) -> None:
    assert list(in_rows(frame)) == []


def test_a_store_is_a_list_as_ccxts_caches_are() -> None:
    assert isinstance(RowCache(print), list)
    assert isinstance(ArrayCache(1), list)
