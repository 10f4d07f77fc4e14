"""Documented frames of venues, read by the real ccxt.pro classes: past trades, ids, order."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType

from exchanges import Access, Subscription
from exchanges.ccxt_adapter.stream.connection import CcxtConnection
from exchanges.ccxt_adapter.venue import CcxtVenue, open_venue
from tests.exchanges.support import Heard


class Spoken:
    """A venue's stream without a socket: frames go through the real client's own handler."""

    def __init__(self, stream: CcxtConnection, url: str, heard: Heard) -> None:
        self.stream = stream
        self.heard = heard
        self.exchange = stream._exchange
        self.client = self.exchange.client(url)

    def say(self, *frames: Any) -> None:
        for frame in frames:
            self.client.handle_message(WSMessage(WSMsgType.TEXT, json.dumps(frame), None))

    @property
    def live(self) -> list[str]:
        return [trade.trade_id for trade in self.heard.trades]

    @property
    def past(self) -> list[str]:
        return [trade.trade_id for trade in self.heard.past]


@asynccontextmanager
async def spoken_of(
    name: str,
    ids: Mapping[str, str],
    url: str = "wss://venue.example/ws",
    wanted: Iterable[str] = (),
    channels: Sequence[str] = ("trades", "ticker", "candles"),
    contract_size: float | None = None,
    coin: str = "",
) -> AsyncIterator[Spoken]:
    """The stream of the ``wanted`` markets, or all; ``ids``: the listed ones' symbols and what the venue calls them.

    With a ``contract_size`` they are perpetual swaps. ``coin``: as which they are wanted, where not by their own names.
    """
    venue = open_venue(name, Access(market_type="swap" if contract_size else "spot"))
    venue._api.set_markets([_market(venue, symbol, market_id, contract_size) for symbol, market_id in ids.items()])
    markets = {coin or symbol.partition("/")[0]: symbol for symbol in wanted or ids}
    heard = Heard()
    stream = venue.connect(Subscription(markets, channels), heard, lambda: None)
    try:
        yield Spoken(stream, url, heard)
    finally:
        await stream.close()
        await venue.close()


def _market(venue: CcxtVenue, symbol: str, market_id: str, contract_size: float | None = None) -> Any:
    base, quote = symbol.partition(":")[0].split("/")
    kind = {"type": "spot", "spot": True, "contract": False}
    if contract_size:
        kind = {"type": "swap", "spot": False, "swap": True, "contract": True, "linear": True, "inverse": False}
        kind |= {"contractSize": contract_size, "settle": quote, "settleId": quote}
    return venue._api.safe_market_structure(
        {
            "id": market_id, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
            "active": True, **kind,
            "precision": {"price": 0.01, "amount": 0.0001}, "priceScale": 8, "ratioScale": 8, "valueScale": 8,
        }
    )  # fmt: skip


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_phemex_begins_with_past_trades() -> None:
    """They have no ids; ccxt passes them newest first, and they are delivered oldest first."""
    async with spoken_of("phemex", {"BTC/USDT": "sBTCUSDT"}) as spoken:
        at = now_ms() * 1_000_000
        frame = {"sequence": 1, "symbol": "sBTCUSDT", "type": "snapshot"}
        rows = [[at - n * 1_000_000_000, "Buy", 964020000000, 1431000] for n in (1, 2, 3)]
        spoken.say(
            {**frame, "trades": rows}, {**frame, "type": "incremental", "trades": [[at, "Sell", 964020000000, 1]]}
        )
        ages = [round((at // 1_000_000 - trade.timestamp) / 1000) for trade in spoken.heard.past]
        assert ages == [3, 2, 1]
        assert len(spoken.live) == 1
        assert spoken.heard.bad == []


async def test_phemex_trades_of_one_millisecond_keep_their_order() -> None:
    """The venue sends the newest first, and they have no ids by which they could be put in order."""
    async with spoken_of("phemex", {"BTC/USDT": "sBTCUSDT"}) as spoken:
        at = now_ms() * 1_000_000 + 516_600
        rows = [[at + 90, "Buy", 3_00000000, 1], [at + 40, "Buy", 2_00000000, 1], [at, "Buy", 1_00000000, 1]]
        spoken.say({"sequence": 1, "symbol": "sBTCUSDT", "type": "incremental", "trades": rows})
        assert [trade.price for trade in spoken.heard.trades] == [1.0, 2.0, 3.0]


async def test_bitfinex_begins_with_past_trades() -> None:
    async with spoken_of("bitfinex", {"BTC/USDT": "tBTCUST"}) as spoken:
        at = now_ms()
        spoken.say(
            {"event": "subscribed", "channel": "trades", "chanId": 7, "symbol": "tBTCUST", "pair": "BTCUST"},
            [7, [[3, at - 10, 0.1, 1815.3], [2, at - 20, -0.1, 1814.1], [1, at - 30, 0.1, 1814.0]]],
            [7, "te", [4, at, 0.003, 1818.5]],
            [7, "tu", [4, at, 0.003, 1818.5]],
        )
        assert (spoken.past, spoken.live) == (["1", "2", "3"], ["4"])


async def test_gemini_begins_with_past_trades() -> None:
    """On its second protocol, the newest first."""
    async with spoken_of("gemini", {"BTC/USD": "btcusd"}) as spoken:
        at = now_ms()

        def row(number: int) -> dict[str, Any]:
            trade = {"type": "trade", "symbol": "BTCUSD", "event_id": number, "timestamp": at + number}
            return {**trade, "price": "22269.14", "quantity": "0.0004", "side": "buy"}

        changes = [["buy", "22252.37", "0.02"]]
        spoken.say(
            {"type": "l2_updates", "symbol": "BTCUSD", "changes": changes, "trades": [row(3), row(2), row(1)]},
            row(4),
            {"type": "l2_updates", "symbol": "BTCUSD", "changes": changes},
        )
        assert (spoken.past, spoken.live) == (["1", "2", "3"], ["4"])


async def test_kraken_begins_with_past_trades() -> None:
    async with spoken_of("kraken", {"BTC/USD": "XBTUSD"}, url="wss://ws.kraken.com/v2") as spoken:

        def frame(kind: str, *numbers: int) -> dict[str, Any]:
            trade = {"symbol": "BTC/USD", "side": "sell", "price": 0.5, "qty": 40.0, "ord_type": "market"}
            rows = [{**trade, "trade_id": n, "timestamp": f"2024-09-25T07:49:0{n}.708706Z"} for n in numbers]
            return {"channel": "trade", "type": kind, "data": rows}

        spoken.say(frame("snapshot", 1, 2, 3), frame("update", 4, 5))
        assert (spoken.past, spoken.live) == (["1", "2", "3"], ["4", "5"])


def okx_trade(number: int, at: int) -> dict[str, Any]:
    row = {"instId": "BTC-USDT", "tradeId": str(number), "px": "31684.5", "sz": "0.01", "side": "buy", "ts": str(at)}
    return {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [row]}


async def test_old_trades_of_a_markets_first_frame_are_all_past_trades() -> None:
    """If frames do not mark past trades: an old trade in a later frame is late, not history."""
    async with spoken_of("cryptocom", {"BTC/USDT": "BTC_USDT"}) as spoken:
        at = now_ms()

        def frame(*rows: tuple[int, int]) -> dict[str, Any]:
            data = [{"d": str(n), "t": at - age, "q": "1", "p": "5", "s": "BUY", "i": "BTC_USDT"} for n, age in rows]
            name = {"instrument_name": "BTC_USDT", "subscription": "trade.BTC_USDT", "channel": "trade"}
            return {"id": -1, "method": "subscribe", "code": 0, "result": {**name, "data": data}}

        spoken.say(frame((3, 0), (2, 60_000), (1, 90_000)), frame((4, 60_000)))
        assert (spoken.past, spoken.live) == (["1", "2"], ["3", "4"])


@pytest.mark.parametrize(("age", "past"), [(60_000, True), (2_500, True), (1_200, False), (0, False), (-1_200, False)])
async def test_okx_may_begin_with_its_last_trade(age: int, past: bool) -> None:
    """Nothing in the frame says so; a clock that is wrong by a second makes no live trade a past one."""
    async with spoken_of("okx", {"BTC/USDT": "BTC-USDT"}) as spoken:
        at = now_ms() - age
        spoken.say(okx_trade(1, at), okx_trade(2, at))
        assert (spoken.past, spoken.live) == ((["1"], ["2"]) if past else ([], ["1", "2"]))


@pytest.mark.parametrize("skew", [0, -3_600_000, 3_600_000])
@pytest.mark.parametrize(("age", "past"), [(60_000, True), (100, False)])
async def test_htx_may_begin_with_its_last_trade(age: int, past: bool, skew: int) -> None:
    """Its frames carry its own time, by which a wrong clock does not matter. Several in a frame come newest first."""
    async with spoken_of("htx", {"BTC/USDT": "btcusdt"}) as spoken:
        at = now_ms() + skew

        def frame(sent: int, *trades: tuple[int, int]) -> dict[str, Any]:
            row = {"id": 102523573486, "amount": 0.0038, "price": 9150.01, "direction": "sell"}
            rows = [{**row, "tradeId": number, "ts": when} for number, when in trades]
            return {"ch": "market.btcusdt.trade.detail", "ts": sent, "tick": {"id": 1, "ts": sent, "data": rows}}

        spoken.say(frame(at, (1, at - age)), frame(at + 50, (4, at + 40), (3, at + 40), (2, at + 30)))
        assert len(spoken.past) == past
        assert [trade.timestamp - at for trade in spoken.heard.trades][-3:] == [30, 40, 40]


# --- whose trade, which, when -----------------------------------------------------------------------------------------


async def test_htx_trades_keep_the_ids_that_tell_them_apart() -> None:
    """The one that ccxt takes has so many digits that neighbours become the same float."""
    async with spoken_of("htx", {"BTC/USDT": "btcusdt"}) as spoken:
        at = now_ms()
        row = {"ts": at, "amount": 0.0038, "price": 9150.01, "direction": "sell"}
        rows = [{**row, "id": 1.0502346490e26, "tradeId": 102523573486 + n} for n in (1, 0)]
        spoken.say({"ch": "market.btcusdt.trade.detail", "ts": at, "tick": {"id": 1, "ts": at, "data": rows}})
        assert spoken.live == ["102523573486", "102523573487"]


async def test_upbit_trades_have_their_own_time() -> None:
    """And not that of the message, which comes later."""
    async with spoken_of("upbit", {"BTC/KRW": "KRW-BTC"}) as spoken:
        at = now_ms()
        row = {"type": "trade", "code": "KRW-BTC", "timestamp": at, "trade_timestamp": at - 1500, "trade_price": 6.7e6}
        spoken.say({**row, "trade_volume": 0.06, "ask_bid": "ASK", "sequential_id": 1584508285000002})
        (trade,) = spoken.heard.trades
        assert (trade.timestamp, trade.trade_id, trade.is_buyer_maker) == (at - 1500, "1584508285000002", True)


def phemex_trades(*rows: tuple[int, float]) -> dict[str, Any]:
    """Time in ms and price of each, as they came."""
    trades = [[at * 1_000_000, "Buy", round(price * 10**8), 1431000] for at, price in rows]
    return {"sequence": 1, "symbol": "sBTCUSDT", "type": "incremental", "trades": trades}


async def test_trades_without_ids_are_distinguished_and_recognized() -> None:
    """Twins stay two; another connection names the same trades alike, so that none is delivered twice."""
    at = now_ms()
    frames = [phemex_trades((at, 10.0), (at, 10.0)), phemex_trades((at, 10.5), (at, 10.0)), phemex_trades((at + 1, 10))]
    named = []
    for _ in range(2):
        async with spoken_of("phemex", {"BTC/USDT": "sBTCUSDT"}) as spoken:
            spoken.say(*frames)
            named.append(spoken.live)
    assert named[0] == named[1]
    assert len(set(named[0])) == 5


def coinbase_trades(kind: str, *rows: tuple[int, str]) -> dict[str, Any]:
    trade = {"price": "21921.73", "size": "0.06", "side": "BUY", "time": "2023-02-09T20:19:35.39625135Z"}
    trades = [{**trade, "trade_id": str(number), "product_id": product} for number, product in rows]
    events = [{"type": kind, "trades": trades}]
    return {"channel": "market_trades", "timestamp": "2023-02-09T20:19:35Z", "sequence_num": 0, "events": events}


@pytest.mark.parametrize("quote", ["USD", "USDC"])
async def test_coinbase_names_its_usdc_pairs_usd(quote: str) -> None:
    ids = {f"{base}/{each}": f"{base}-{each}" for base in ("BTC", "ETH") for each in ("USD", "USDC")}
    async with spoken_of("coinbase", ids, wanted=[f"BTC/{quote}", f"ETH/{quote}"]) as spoken:
        spoken.say(
            coinbase_trades("snapshot", (2, "BTC-USD"), (1, "BTC-USD")),
            coinbase_trades("update", (4, "ETH-USD"), (3, "BTC-USD")),
        )
        ticker = {"type": "ticker", "product_id": "ETH-USD", "price": "1500.5", "volume_24_h": "1", "low_24_h": "1"}
        frame = {"channel": "ticker_batch", "timestamp": "2023-02-09T20:30:37.167359596Z", "sequence_num": 0}
        spoken.say({**frame, "events": [{"type": "update", "tickers": [ticker]}]})
        assert spoken.past == ["1", "2"]
        assert [(trade.coin, trade.trade_id) for trade in spoken.heard.trades] == [("BTC", "3"), ("ETH", "4")]
        assert [(ticker.coin, ticker.last) for ticker in spoken.heard.tickers] == [("ETH", 1500.5)]


async def test_coinbaseexchange_sends_the_makers_side() -> None:
    """ccxt converts it to the taker's side if both orders are named, and guesses otherwise."""
    async with spoken_of("coinbaseexchange", {"BTC/USD": "BTC-USD"}) as spoken:
        match = {
            "type": "match", "trade_id": 10, "sequence": 50, "time": "2024-11-07T08:19:27.028459Z", "side": "sell",
            "product_id": "BTC-USD", "size": "5.23512", "price": "400.23",
        }  # fmt: skip
        spoken.say({**match, "maker_order_id": "ac928c66", "taker_order_id": "132fb6ae"}, {**match, "trade_id": 11})
        assert [(trade.trade_id, trade.is_buyer_maker) for trade in spoken.heard.trades] == [("10", False)]
        assert len(spoken.heard.bad) == 1


# --- best bid and ask, wherever they come from ------------------------------------------------------------------------


def coinbase_ticker(**changes: Any) -> dict[str, Any]:
    ticker = {"type": "ticker", "product_id": "BTC-USD", "price": "1500.5", "best_bid": "1500", "best_ask": "1501"}
    events = [{"type": "update", "tickers": [{**ticker, "best_bid_quantity": "2", **changes}]}]
    frame = {"channel": "ticker_batch", "timestamp": "2023-02-09T20:30:37.167359596Z", "sequence_num": 0}
    return {**frame, "events": events}


@pytest.mark.parametrize("channels", [["quotes"], ["ticker", "quotes"], ["ticker"]])
async def test_quotes_come_with_the_tickers_where_nothing_else_brings_them(channels: list[str]) -> None:
    async with spoken_of("coinbase", {"BTC/USD": "BTC-USD"}, channels=channels) as spoken:
        spoken.say(coinbase_ticker())
        quotes = [(quote.bid, quote.bid_size, quote.ask, quote.ask_size) for quote in spoken.heard.quotes]
        assert quotes == [(1500.0, 2.0, 1501.0, 0.0)] * ("quotes" in channels)
        assert len(spoken.heard.tickers) == ("ticker" in channels)
        assert spoken.heard.bad == []


async def test_tickers_without_bid_and_ask_lead_to_the_order_book_once() -> None:
    async with spoken_of("coinbase", {"BTC/USD": "BTC-USD"}, channels=["quotes"]) as spoken:
        asked: list[str] = []
        spoken.stream._delivery.on_no_quote = asked.append
        spoken.say(*[coinbase_ticker(best_bid=None)] * 3)
        assert asked == ["BTC/USD"]
        assert spoken.heard.bad == []


async def test_kraken_keeps_its_quotes_among_the_tickers() -> None:
    url = "wss://ws.kraken.com/v2"
    async with spoken_of("kraken", {"BTC/USD": "XBTUSD"}, url, channels=["quotes"]) as spoken:
        row = {"symbol": "BTC/USD", "bid": 0.1, "bid_qty": 740.0, "ask": 0.2, "ask_qty": 740.0, "last": 0.15}
        spoken.say({"channel": "ticker", "type": "update", "data": [row]})
        assert [(quote.bid, quote.ask) for quote in spoken.heard.quotes] == [(0.1, 0.2)]
        assert spoken.heard.tickers == []


async def test_an_order_book_is_a_quote_whenever_its_top_changes() -> None:
    """ccxt changes its books in place and resolves them; nobody need wake for that."""
    async with spoken_of("upbit", {"BTC/KRW": "KRW-BTC"}, channels=["quotes"]) as spoken:
        spoken.stream._carry_books({"BTC/KRW": "BTC"})
        future = spoken.client.future("orderbook:BTC/KRW")

        def book(*bids: float) -> dict[str, Any]:
            units = [{"ask_price": 10.5, "ask_size": 3, "bid_price": bid, "bid_size": 2} for bid in bids]
            frame = {"type": "orderbook", "code": "KRW-BTC", "timestamp": now_ms(), "stream_type": "SNAPSHOT"}
            return {**frame, "orderbook_units": units}

        spoken.say(book(9.0, 8.0), book(9.0, 7.0), book(9.5, 9.0))
        assert [(quote.bid, quote.bid_size, quote.ask) for quote in spoken.heard.quotes] == [
            (9, 2, 10.5),
            (9.5, 2, 10.5),
        ]
        assert not future.done()
        assert spoken.heard.bad == []


# --- perpetual swaps --------------------------------------------------------------------------------------------------


async def test_okx_swaps_are_delivered_in_base_units() -> None:
    """Its sizes are contracts of 0.01 BTC."""
    ids = {"BTC/USDT:USDT": "BTC-USDT-SWAP"}
    async with spoken_of("okx", ids, channels=["trades", "quotes", "candles"], contract_size=0.01) as spoken:
        at = now_ms()
        frame = {"arg": {"channel": "trades", "instId": "BTC-USDT-SWAP"}}
        row = {"instId": "BTC-USDT-SWAP", "tradeId": "1", "px": "64000", "sz": "150", "side": "sell", "ts": str(at)}
        spoken.say({**frame, "data": [row]})
        day = {"instId": "BTC-USDT-SWAP", "last": "64000", "bidPx": "63999", "bidSz": "200", "askPx": "64001"}
        ticker = {**day, "askSz": "300", "ts": str(at), "instType": "SWAP", "open24h": "63000", "volCcy24h": "5"}
        spoken.say({"arg": {"channel": "tickers", "instId": "BTC-USDT-SWAP"}, "data": [ticker]})
        opened = at - at % 60_000
        bar = [str(opened), "64000", "64010", "63990", "64005", "150", "1.5", "96000", "0"]
        spoken.say({"arg": {"channel": "candle1m", "instId": "BTC-USDT-SWAP"}, "data": [bar]})
        assert [(trade.coin, trade.quantity, trade.trade_id) for trade in spoken.heard.trades] == [("BTC", 1.5, "1")]
        assert [(quote.bid_size, quote.ask_size) for quote in spoken.heard.quotes] == [(2.0, 3.0)]
        assert [candle.volume for candle in spoken.heard.candles] == [1.5]


async def test_binance_swaps_come_as_its_futures_streams_document_them() -> None:
    url = "wss://fstream.binance.com/ws/0"
    async with spoken_of("binance", {"BTC/USDT:USDT": "BTCUSDT"}, url, contract_size=1.0) as spoken:
        at = now_ms()
        trade = {"e": "trade", "E": at, "T": at, "s": "BTCUSDT", "t": 7, "p": "64000.1", "q": "0.5", "X": "MARKET"}
        spoken.say({**trade, "m": True})
        assert [(t.price, t.quantity, t.is_buyer_maker, t.trade_id) for t in spoken.heard.trades] == [
            (64000.1, 0.5, True, "7")
        ]
        assert spoken.heard.bad == []


async def test_bybit_swaps_come_as_its_linear_topics_document_them() -> None:
    url = "wss://stream.bybit.com/v5/public/linear"
    async with spoken_of("bybit", {"BTC/USDT:USDT": "BTCUSDT"}, url, contract_size=1.0) as spoken:
        at = now_ms()
        row = {"T": at, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.5", "L": "PlusTick", "i": "20f43950"}
        spoken.say({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": at, "data": [{**row, "BT": False}]})
        day = {"symbol": "BTCUSDT", "lastPrice": "17216.00", "prevPrice24h": "16597.00", "price24hPcnt": "0.037"}
        whole = {**day, "turnover24h": "1570383121.9", "volume24h": "91705.2", "bid1Price": "17215.5"}
        for kind, data in (("snapshot", whole), ("delta", {"symbol": "BTCUSDT", "lastPrice": "17217.00"})):
            spoken.say({"topic": "tickers.BTCUSDT", "type": kind, "data": data, "cs": 2, "ts": at})
        assert [(trade.quantity, trade.trade_id) for trade in spoken.heard.trades] == [(0.001, "20f43950")]
        assert [(ticker.last, ticker.volume_24h) for ticker in spoken.heard.tickers] == [
            (17216.0, 1570383121.9), (17217.0, 1570383121.9)
        ]  # fmt: skip
        assert spoken.heard.bad == []


@pytest.mark.parametrize(("market_type", "path"), [("spot", "publicGetTrades"), ("swap", "fapiPublicGetTrades")])
async def test_gaps_are_filled_with_trades_of_the_same_market_type(market_type: str, path: str) -> None:
    """Binance's spot and futures number theirs apart."""
    venue = open_venue("binance", Access(market_type=market_type))
    assert venue.profile.recent_trades["fetchTradesMethod"] == path
    assert bool(venue.profile.older_trades) is (market_type == "spot")
    await venue.close()


BYBIT_WS = "wss://stream.bybit.com/v5/public/linear"


def bybit_trades(market: str, *rows: Mapping[str, Any]) -> dict[str, Any]:
    at = now_ms()
    row = {"T": at, "s": market, "S": "Buy", "v": "2000", "p": "0.00812", "L": "PlusTick", "BT": False, "RPI": False}
    data = [{**row, "i": str(number), **changes} for number, changes in enumerate(rows)]
    return {"topic": f"publicTrade.{market}", "type": "snapshot", "ts": at, "data": data}


async def test_block_trades_are_left_out_and_counted_one_by_one() -> None:
    """Retail price improvement is matched in the book, so it is a trade."""
    async with spoken_of("bybit", {"BTC/USDT:USDT": "BTCUSDT"}, BYBIT_WS, contract_size=1.0) as spoken:
        spoken.say(
            bybit_trades("BTCUSDT", {}, {"BT": True, "p": "9"}, {"RPI": True}), bybit_trades("BTCUSDT", {"BT": True})
        )
        assert spoken.live == ["0", "2"]
        assert spoken.heard.off_book == ["BTC", "BTC"]
        assert spoken.heard.bad == []


@pytest.mark.parametrize("block", [{"block_trade_id": "154"}, {}])
async def test_deribits_block_trades_are_left_out(block: Mapping[str, str]) -> None:
    async with spoken_of("deribit", {"BTC/USD:BTC": "BTC-PERPETUAL"}, contract_size=10.0) as spoken:
        row = {
            "trade_seq": 1, "trade_id": "ETH-1", "timestamp": now_ms(), "price": 61_000.0, "direction": "buy",
            "instrument_name": "BTC-PERPETUAL", "amount": 50.0, "tick_direction": 0, "index_price": 61_000.0, **block,
        }  # fmt: skip
        params = {"channel": "trades.BTC-PERPETUAL.100ms", "data": [row]}
        spoken.say({"jsonrpc": "2.0", "method": "subscription", "params": params})
        assert (len(spoken.live), spoken.heard.off_book) == ((0, ["BTC"]) if block else (1, []))


@pytest.mark.parametrize(
    ("kind", "is_trade"), [("fill", True), ("liquidation", True), ("block", False), ("termination", False)]
)
async def test_on_kraken_futures_only_fills_of_the_order_book_are_trades(kind: str, is_trade: bool) -> None:
    async with spoken_of("krakenfutures", {"BTC/USD:USD": "PF_XBTUSD"}, contract_size=1.0) as spoken:
        row = {"uid": "a1", "side": "sell", "type": kind, "seq": 1, "time": now_ms(), "qty": 2.0, "price": 61_000.0}
        spoken.say({"feed": "trade", "product_id": "PF_XBTUSD", **row})
        assert (len(spoken.live), len(spoken.heard.off_book)) == ((1, 0) if is_trade else (0, 1))


@pytest.mark.parametrize("internal", [True, False])
async def test_gates_take_overs_are_left_out(internal: bool) -> None:
    async with spoken_of("gate", {"BTC/USDT:USDT": "BTC_USDT"}, contract_size=0.0001) as spoken:
        at = now_ms()
        row = {"size": -108, "id": 27753479, "create_time": at // 1000, "create_time_ms": at, "price": "61000.4",
               "contract": "BTC_USDT", "is_internal": internal}  # fmt: skip
        spoken.say({"channel": "futures.trades", "event": "update", "time": at // 1000, "result": [row]})
        assert (len(spoken.live), spoken.heard.off_book) == ((0, ["BTC"]) if internal else (1, []))


# --- frames whose rows are of another market than their topic ---------------------------------------------------------

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
async def test_a_frame_whose_rows_are_of_another_market_than_its_topic_is_a_bad_one(name: str, frame: Any) -> None:
    """Nothing of it is delivered, neither as the one market nor as the other."""
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
async def test_a_ticker_without_a_last_price_is_none(name: str, market_id: str, frame: Any) -> None:
    """ccxt would compute one from the other day stats."""
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
async def test_a_row_of_another_market_costs_its_neighbours_nothing(name: str, place: int, other: str) -> None:
    """At any place in the frame; it is reported as bad."""
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


# --- markets of a thousand units --------------------------------------------------------------------------------------


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
async def test_a_market_of_many_units_is_told_as_the_coin(symbol: str, market_id: str, coin: str, units: int) -> None:
    async with spoken_of(
        "bybit",
        {symbol: market_id},
        BYBIT_WS,
        channels=("trades", "ticker", "candles", "quotes"),
        contract_size=1.0,
        coin=coin,
    ) as spoken:
        at = now_ms()
        bar = {"start": at - at % 60_000, "end": at, "interval": "1", "open": "0.00812", "close": "0.00812",
               "high": "0.0082", "low": "0.0081", "volume": "2000", "turnover": "16", "confirm": False,
               "timestamp": at}  # fmt: skip
        day = {"symbol": market_id, "lastPrice": "0.00812", "turnover24h": "16.24", "volume24h": "2000",
               "prevPrice24h": "0.008", "price24hPcnt": "0.015", "bid1Price": "0.00811", "bid1Size": "7",
               "ask1Price": "0.00812", "ask1Size": "9"}  # fmt: skip
        spoken.say(
            bybit_trades(market_id, {}),
            {"topic": f"kline.1.{market_id}", "type": "snapshot", "ts": at, "data": [bar]},
            {"topic": f"tickers.{market_id}", "type": "snapshot", "ts": at, "cs": 1, "data": day},
        )
        heard, price = spoken.heard, float(f"0.00812e-{len(str(units)) - 1}")
        (trade,), (candle,), (ticker,) = heard.trades, heard.candles, heard.tickers
        assert (trade.coin, trade.market, trade.price, trade.quantity) == (coin, symbol, price, 2000.0 * units)
        assert (candle.close, candle.volume, candle.market) == (price, 2000.0 * units, symbol)
        assert (ticker.last, ticker.volume_24h, ticker.change_24h) == (price, 16.24, 1.5)
        assert heard.bad == []
