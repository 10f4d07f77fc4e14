"""Rows of a market that their frame's topic does not name are bad; prices per thousand coins become prices per coin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.exchanges.ccxt_adapter.stream.support import BYBIT_WS, bybit_trades, now_ms, spoken_of

AT = 1_760_000_000_123


SAYS_TWO: dict[str, list[Any]] = {
    "bybit": [
        bybit_trades("BTCUSDT", {"s": "ETHUSDT"}),
        {"topic": "tickers.BTCUSDT", "type": "delta", "ts": AT, "data": {"symbol": "ETHUSDT", "lastPrice": "2600"}},
        {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": AT, "data": {"symbol": "ETHUSDT", "lastPrice": "2600"}},
        {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": AT, "data": [
            {"start": AT - AT % 60_000, "end": AT, "interval": "5", "open": "1", "close": "1", "high": "1", "low": "1",
             "volume": "1", "turnover": "1", "confirm": False, "timestamp": AT}]},
    ],
    "binance": [
        {"stream": "btcusdt@trade", "data": {"e": "trade", "E": AT, "s": "ETHUSDT", "t": 1, "p": "2600", "q": "1",
                                              "T": AT, "m": True, "M": True}},
        {"stream": "btcusdt@bookTicker", "data": {"u": 1, "s": "ETHUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}},
        {"e": "kline", "E": AT, "s": "BTCUSDT", "k": {
            "t": AT - AT % 60_000, "T": AT, "s": "ETHUSDT", "i": "1m", "o": "1", "c": "1", "h": "1", "l": "1", "v": "1",
            "n": 1, "x": False, "q": "1", "V": "1", "Q": "1", "B": "0"}},
    ],
    "okx": [
        {"arg": {"channel": "trades", "instId": "BTC-USDT"},
         "data": [{"instId": "ETH-USDT", "tradeId": "1", "px": "2600", "sz": "1", "side": "buy", "ts": str(AT)}]},
        {"arg": {"channel": "tickers", "instId": "BTC-USDT"},
         "data": [{"instType": "SPOT", "instId": "ETH-USDT", "last": "2600", "ts": str(AT)}]},
    ],
    "kucoin": [
        {"type": "message", "topic": "/market/match:BTC-USDT", "subject": "trade.l3match", "data": {
            "sequence": "1", "type": "match", "symbol": "ETH-USDT", "side": "buy", "price": "2600", "size": "1",
            "tradeId": "1", "time": f"{AT}000000"}},
    ],
    "cryptocom": [
        {"id": -1, "method": "subscribe", "code": 0, "result": {
            "instrument_name": "BTC_USDT", "subscription": "trade.BTC_USDT", "channel": "trade",
            "data": [{"d": "1", "t": AT, "q": "1", "p": "2600", "s": "BUY", "i": "ETH_USDT"}]}},
    ],
    "bitget": [
        {"action": "update", "arg": {"instType": "SPOT", "channel": "ticker", "instId": "BTCUSDT"},
         "data": [{"instId": "ETHUSDT", "lastPr": "2600", "ts": str(AT)}], "ts": AT},
    ],
}  # fmt: skip


IDS = {"okx": "{}-USDT", "kucoin": "{}-USDT", "cryptocom": "{}_USDT"}


@pytest.mark.parametrize(("name", "frame"), [(name, frame) for name, frames in SAYS_TWO.items() for frame in frames])
async def test_a_frame_with_rows_of_another_market_than_its_topic_is_bad(name: str, frame: Any) -> None:
    """No row of the frame is delivered for either market."""
    ids = {f"{coin}/USDT": IDS.get(name, "{}USDT").format(coin) for coin in ("BTC", "ETH")}
    url = {"bybit": "wss://stream.bybit.com/v5/public/spot", "binance": "wss://stream.binance.com:9443/ws/0"}
    channels = ("trades", "ticker", "candles", "quotes")
    async with spoken_of(name, ids, url.get(name, "wss://venue.example/ws"), channels=channels) as spoken:
        spoken.say(frame)
        heard = spoken.heard
        assert [*heard.trades, *heard.past, *heard.tickers, *heard.candles, *heard.quotes] == []
        assert len(heard.bad) == 1
        assert heard.bad[0].startswith("OtherMarket: ")


@pytest.mark.parametrize(
    ("name", "market_id", "frame"),
    [
        ("bybit", "BTCUSDT", {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": AT, "data": {
            "symbol": "BTCUSDT", "prevPrice24h": "60000", "price24hPcnt": "0.01", "turnover24h": "1"}}),
        ("okx", "BTC-USDT", {"arg": {"channel": "tickers", "instId": "BTC-USDT"}, "data": [
            {"instType": "SPOT", "instId": "BTC-USDT", "open24h": "60000", "last": "", "askPx": "60001", "askSz": "1",
             "bidPx": "60000", "bidSz": "1", "vol24h": "1", "volCcy24h": "60000", "ts": str(AT)}]}),
    ],
)  # fmt: skip
async def test_a_ticker_without_a_last_price_is_not_delivered(name: str, market_id: str, frame: Any) -> None:
    """ccxt would compute a last price from the other 24 h statistics."""
    url = "wss://stream.bybit.com/v5/public/spot" if name == "bybit" else "wss://venue.example/ws"
    async with spoken_of(name, {"BTC/USDT": market_id}, url, channels=["ticker"]) as spoken:
        spoken.say(frame)
        assert spoken.heard.tickers == []


MIXED: dict[str, tuple[str, Callable[[Any], Any], Callable[[int, str], Any]]] = {
    "bybit": ("BTCUSDT", lambda rows: {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": AT, "data": rows},
              lambda number, market: {"i": str(number), "T": AT, "p": "60000", "v": "1", "S": "Buy", "s": market}),
    "okx": ("BTC-USDT", lambda rows: {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": rows},
            lambda number, market: {"instId": market, "tradeId": str(number), "px": "60000", "sz": "1", "side": "buy",
                                    "ts": str(AT)}),
}  # fmt: skip


@pytest.mark.parametrize("other", ["ETHUSDT", "ETH-USDT", "null"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", MIXED)
async def test_a_row_of_another_market_affects_no_other_row(name: str, place: int, other: str) -> None:
    """Wherever the row is in the frame, this row is reported as bad, and the other rows are delivered."""
    market, frame, row = MIXED[name]
    ids = {f"{coin}/USDT": IDS.get(name, "{}USDT").format(coin) for coin in ("BTC", "ETH")}
    url = "wss://stream.bybit.com/v5/public/spot" if name == "bybit" else "wss://venue.example/ws"
    rows = [row(number, other if number == place else market) for number in range(3)]
    async with spoken_of(name, ids, url, channels=("trades",)) as spoken:
        spoken.say(frame(rows))
        heard = spoken.heard
        ids_heard = [trade.trade_id for trade in [*heard.past, *heard.trades]]
        assert ids_heard == [str(number) for number in range(3) if number != place]
        assert {trade.coin for trade in [*heard.past, *heard.trades]} == {"BTC"}
        assert len(heard.bad) == 1
        assert heard.bad[0].startswith("OtherMarket: ")


@pytest.mark.parametrize(
    ("symbol", "market_id", "coin", "units"),
    [
        ("1000BONK/USDT:USDT", "1000BONKUSDT", "BONK", 1_000),
        ("SHIB1000/USDT:USDT", "SHIB1000USDT", "SHIB", 1_000),
        ("1000000MOG/USDT:USDT", "1000000MOGUSDT", "MOG", 1_000_000),
        ("1000BONK/USDT:USDT", "1000BONKUSDT", "1000BONK", 1),
        ("1INCH/USDT:USDT", "1INCHUSDT", "1INCH", 1),
    ],
)
async def test_data_of_a_market_with_prices_per_many_coins_is_delivered_per_coin(
    symbol: str, market_id: str, coin: str, units: int
) -> None:
    async with spoken_of(
        "bybit",
        {symbol: market_id},
        BYBIT_WS,
        channels=("trades", "ticker", "candles", "quotes"),
        contract_size=1.0,
        coin=coin,
    ) as spoken:
        at = now_ms()
        kline = {"start": at - at % 60_000, "end": at, "interval": "1", "open": "0.00812", "close": "0.00812",
               "high": "0.0082", "low": "0.0081", "volume": "2000", "turnover": "16", "confirm": False,
               "timestamp": at}  # fmt: skip
        day = {"symbol": market_id, "lastPrice": "0.00812", "turnover24h": "16.24", "volume24h": "2000",
               "prevPrice24h": "0.008", "price24hPcnt": "0.015", "bid1Price": "0.00811", "bid1Size": "7",
               "ask1Price": "0.00812", "ask1Size": "9"}  # fmt: skip
        spoken.say(
            bybit_trades(market_id, {}),
            {"topic": f"kline.1.{market_id}", "type": "snapshot", "ts": at, "data": [kline]},
            {"topic": f"tickers.{market_id}", "type": "snapshot", "ts": at, "cs": 1, "data": day},
        )
        heard, price = spoken.heard, float(f"0.00812e-{len(str(units)) - 1}")
        (trade,), (candle,), (ticker,) = heard.trades, heard.candles, heard.tickers
        assert (trade.coin, trade.market, trade.price, trade.quantity) == (coin, symbol, price, 2000.0 * units)
        assert (candle.close, candle.volume, candle.market) == (price, 2000.0 * units, symbol)
        assert (ticker.last, ticker.volume_24h, ticker.change_24h) == (price, 16.24, 1.5)
        assert heard.bad == []
