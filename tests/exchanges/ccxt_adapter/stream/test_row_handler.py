"""Documented frames of venues, read by the real ccxt.pro classes, give the right trades, tickers and quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from exchanges import Access
from exchanges.ccxt_adapter.venue import open_venue
from tests.exchanges.ccxt_adapter.stream.support import BYBIT_WS, bybit_trades, now_ms, spoken_of


async def test_phemex_sends_past_trades_first() -> None:
    """Phemex's trades have no ids. ccxt passes the newest trade first, but the oldest one is delivered first."""
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
    """The venue sends the newest trade first, and the trades have no ids by which they could be ordered."""
    async with spoken_of("phemex", {"BTC/USDT": "sBTCUSDT"}) as spoken:
        at = now_ms() * 1_000_000 + 516_600
        rows = [[at + 90, "Buy", 3_00000000, 1], [at + 40, "Buy", 2_00000000, 1], [at, "Buy", 1_00000000, 1]]
        spoken.say({"sequence": 1, "symbol": "sBTCUSDT", "type": "incremental", "trades": rows})
        assert [trade.price for trade in spoken.heard.trades] == [1.0, 2.0, 3.0]


async def test_bitfinex_sends_past_trades_first() -> None:
    async with spoken_of("bitfinex", {"BTC/USDT": "tBTCUST"}) as spoken:
        at = now_ms()
        spoken.say(
            {"event": "subscribed", "channel": "trades", "chanId": 7, "symbol": "tBTCUST", "pair": "BTCUST"},
            [7, [[3, at - 10, 0.1, 1815.3], [2, at - 20, -0.1, 1814.1], [1, at - 30, 0.1, 1814.0]]],
            [7, "te", [4, at, 0.003, 1818.5]],
            [7, "tu", [4, at, 0.003, 1818.5]],
        )
        assert (spoken.past, spoken.live) == (["1", "2", "3"], ["4"])


async def test_gemini_sends_past_trades_first() -> None:
    """Gemini's second protocol sends the newest trade first."""
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


async def test_kraken_sends_past_trades_first() -> None:
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
    """The frames of some venues do not mark past trades. An old trade in a later frame is a late trade, not a past
    trade.
    """
    async with spoken_of("cryptocom", {"BTC/USDT": "BTC_USDT"}) as spoken:
        at = now_ms()

        def frame(*rows: tuple[int, int]) -> dict[str, Any]:
            data = [{"d": str(n), "t": at - age, "q": "1", "p": "5", "s": "BUY", "i": "BTC_USDT"} for n, age in rows]
            name = {"instrument_name": "BTC_USDT", "subscription": "trade.BTC_USDT", "channel": "trade"}
            return {"id": -1, "method": "subscribe", "code": 0, "result": {**name, "data": data}}

        spoken.say(frame((3, 0), (2, 60_000), (1, 90_000)), frame((4, 60_000)))
        assert (spoken.past, spoken.live) == (["1", "2"], ["3", "4"])


@pytest.mark.parametrize(("age", "past"), [(60_000, True), (2_500, True), (1_200, False), (0, False), (-1_200, False)])
async def test_an_old_trade_in_okx_first_frame_is_a_past_trade(age: int, past: bool) -> None:
    """The frame does not mark past trades. A live trade must not become a past one if a clock is wrong by a second."""
    async with spoken_of("okx", {"BTC/USDT": "BTC-USDT"}) as spoken:
        at = now_ms() - age
        spoken.say(okx_trade(1, at), okx_trade(2, at))
        assert (spoken.past, spoken.live) == ((["1"], ["2"]) if past else ([], ["1", "2"]))


@pytest.mark.parametrize("skew", [0, -3_600_000, 3_600_000])
@pytest.mark.parametrize(("age", "past"), [(60_000, True), (100, False)])
async def test_an_old_trade_in_htx_first_frame_is_a_past_trade(age: int, past: bool, skew: int) -> None:
    """HTX's frames have the venue's time, so a wrong local clock does not matter. Each frame has its newest trade
    first."""
    async with spoken_of("htx", {"BTC/USDT": "btcusdt"}) as spoken:
        at = now_ms() + skew

        def frame(sent: int, *trades: tuple[int, int]) -> dict[str, Any]:
            row = {"id": 102523573486, "amount": 0.0038, "price": 9150.01, "direction": "sell"}
            rows = [{**row, "tradeId": number, "ts": when} for number, when in trades]
            return {"ch": "market.btcusdt.trade.detail", "ts": sent, "tick": {"id": 1, "ts": sent, "data": rows}}

        spoken.say(frame(at, (1, at - age)), frame(at + 50, (4, at + 40), (3, at + 40), (2, at + 30)))
        assert len(spoken.past) == past
        assert [trade.timestamp - at for trade in spoken.heard.trades][-3:] == [30, 40, 40]


# --- market, id and time of a trade -----------------------------------------------------------------------------------


async def test_htx_trades_have_distinct_ids() -> None:
    """The id that ccxt uses has so many digits that neighbouring ids become the same float."""
    async with spoken_of("htx", {"BTC/USDT": "btcusdt"}) as spoken:
        at = now_ms()
        row = {"ts": at, "amount": 0.0038, "price": 9150.01, "direction": "sell"}
        rows = [{**row, "id": 1.0502346490e26, "tradeId": 102523573486 + n} for n in (1, 0)]
        spoken.say({"ch": "market.btcusdt.trade.detail", "ts": at, "tick": {"id": 1, "ts": at, "data": rows}})
        assert spoken.live == ["102523573486", "102523573487"]


async def test_upbit_trades_have_the_time_of_the_trade() -> None:
    """The time of the message is later than the time of the trade."""
    async with spoken_of("upbit", {"BTC/KRW": "KRW-BTC"}) as spoken:
        at = now_ms()
        row = {"type": "trade", "code": "KRW-BTC", "timestamp": at, "trade_timestamp": at - 1500, "trade_price": 6.7e6}
        spoken.say({**row, "trade_volume": 0.06, "ask_bid": "ASK", "sequential_id": 1584508285000002})
        (trade,) = spoken.heard.trades
        assert (trade.timestamp, trade.trade_id, trade.is_buyer_maker) == (at - 1500, "1584508285000002", True)


def phemex_trades(*rows: tuple[int, float]) -> dict[str, Any]:
    """A frame of Phemex with trades; ``rows`` has the time (ms) and the price of each trade."""
    trades = [[at * 1_000_000, "Buy", round(price * 10**8), 1431000] for at, price in rows]
    return {"sequence": 1, "symbol": "sBTCUSDT", "type": "incremental", "trades": trades}


async def test_trades_without_ids_get_distinct_and_reproducible_ids() -> None:
    """Two equal trades get different ids. Another connection gives the same trades the same ids, so that no trade is
    delivered twice."""
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
async def test_data_that_coinbase_sends_under_usd_names_also_counts_for_subscribed_usdc_markets(quote: str) -> None:
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


async def test_the_makers_side_that_coinbaseexchange_sends_becomes_the_takers_side() -> None:
    """ccxt converts the side only if the row names both orders. Other rows are dropped, because ccxt would guess."""
    async with spoken_of("coinbaseexchange", {"BTC/USD": "BTC-USD"}) as spoken:
        match = {
            "type": "match", "trade_id": 10, "sequence": 50, "time": "2024-11-07T08:19:27.028459Z", "side": "sell",
            "product_id": "BTC-USD", "size": "5.23512", "price": "400.23",
        }  # fmt: skip
        spoken.say({**match, "maker_order_id": "ac928c66", "taker_order_id": "132fb6ae"}, {**match, "trade_id": 11})
        assert [(trade.trade_id, trade.is_buyer_maker) for trade in spoken.heard.trades] == [("10", False)]
        assert len(spoken.heard.bad) == 1


# --- best bid and ask, from different channels ------------------------------------------------------------------------


def coinbase_ticker(**changes: Any) -> dict[str, Any]:
    ticker = {"type": "ticker", "product_id": "BTC-USD", "price": "1500.5", "best_bid": "1500", "best_ask": "1501"}
    events = [{"type": "update", "tickers": [{**ticker, "best_bid_quantity": "2", **changes}]}]
    frame = {"channel": "ticker_batch", "timestamp": "2023-02-09T20:30:37.167359596Z", "sequence_num": 0}
    return {**frame, "events": events}


@pytest.mark.parametrize("channels", [["quotes"], ["ticker", "quotes"], ["ticker"]])
async def test_quotes_come_from_tickers_if_no_other_channel_has_them(channels: list[str]) -> None:
    async with spoken_of("coinbase", {"BTC/USD": "BTC-USD"}, channels=channels) as spoken:
        spoken.say(coinbase_ticker())
        quotes = [(quote.bid, quote.bid_size, quote.ask, quote.ask_size) for quote in spoken.heard.quotes]
        assert quotes == [(1500.0, 2.0, 1501.0, 0.0)] * ("quotes" in channels)
        assert len(spoken.heard.tickers) == ("ticker" in channels)
        assert spoken.heard.bad == []


async def test_if_tickers_have_no_bid_and_ask_the_order_book_is_subscribed_once() -> None:
    async with spoken_of("coinbase", {"BTC/USD": "BTC-USD"}, channels=["quotes"]) as spoken:
        asked: list[str] = []
        spoken.stream._delivery.on_no_quote = asked.append
        spoken.say(*[coinbase_ticker(best_bid=None)] * 3)
        assert asked == ["BTC/USD"]
        assert spoken.heard.bad == []


async def test_krakens_quotes_come_from_its_ticker_channel() -> None:
    url = "wss://ws.kraken.com/v2"
    async with spoken_of("kraken", {"BTC/USD": "XBTUSD"}, url, channels=["quotes"]) as spoken:
        row = {"symbol": "BTC/USD", "bid": 0.1, "bid_qty": 740.0, "ask": 0.2, "ask_qty": 740.0, "last": 0.15}
        spoken.say({"channel": "ticker", "type": "update", "data": [row]})
        assert [(quote.bid, quote.ask) for quote in spoken.heard.quotes] == [(0.1, 0.2)]
        assert spoken.heard.tickers == []


async def test_an_order_book_gives_a_quote_whenever_its_best_level_changes() -> None:
    """ccxt changes its books in place and resolves futures with them; here no future may be resolved."""
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
    """OKX's sizes are numbers of contracts of 0.01 BTC."""
    ids = {"BTC/USDT:USDT": "BTC-USDT-SWAP"}
    async with spoken_of("okx", ids, channels=["trades", "ticker", "quotes", "candles"], contract_size=0.01) as spoken:
        at = now_ms()
        frame = {"arg": {"channel": "trades", "instId": "BTC-USDT-SWAP"}}
        row = {"instId": "BTC-USDT-SWAP", "tradeId": "1", "px": "64000", "sz": "150", "side": "sell", "ts": str(at)}
        spoken.say({**frame, "data": [row]})
        day = {"instId": "BTC-USDT-SWAP", "last": "64000", "bidPx": "63999", "bidSz": "200", "askPx": "64001"}
        ticker = {**day, "askSz": "300", "ts": str(at), "instType": "SWAP", "open24h": "63000", "volCcy24h": "5"}
        spoken.say({"arg": {"channel": "tickers", "instId": "BTC-USDT-SWAP"}, "data": [ticker]})
        opened = at - at % 60_000
        kline = [str(opened), "64000", "64010", "63990", "64005", "150", "1.5", "96000", "0"]
        spoken.say({"arg": {"channel": "candle1m", "instId": "BTC-USDT-SWAP"}, "data": [kline]})
        assert [(trade.coin, trade.quantity, trade.trade_id) for trade in spoken.heard.trades] == [("BTC", 1.5, "1")]
        assert [(quote.bid_size, quote.ask_size) for quote in spoken.heard.quotes] == [(2.0, 3.0)]
        assert [(told.bid_size, told.ask_size) for told in spoken.heard.tickers] == [(2.0, 3.0)]
        assert [candle.volume for candle in spoken.heard.candles] == [1.5]


async def test_tickers_of_okx_swaps_over_rest_are_in_base_units(monkeypatch: pytest.MonkeyPatch) -> None:
    async with spoken_of("okx", {"BTC/USDT:USDT": "BTC-USDT-SWAP"}, contract_size=0.01) as spoken:
        row = {"instId": "BTC-USDT-SWAP", "last": "64000", "bidPx": "63999", "bidSz": "200", "askPx": "64001"}
        monkeypatch.setattr(spoken.venue._api, "publicGetMarketTickers", _answer({"data": [{**row, "askSz": "300"}]}))
        (ticker,) = await spoken.venue.fetch_tickers({"BTC": "BTC/USDT:USDT"})
        assert (ticker.bid_size, ticker.ask_size) == (2.0, 3.0)


def _answer(said: Any) -> Any:
    async def answer(*args: Any) -> Any:
        return said

    return answer


async def test_documented_frames_of_binance_futures_are_delivered() -> None:
    url = "wss://fstream.binance.com/ws/0"
    async with spoken_of("binance", {"BTC/USDT:USDT": "BTCUSDT"}, url, contract_size=1.0) as spoken:
        at = now_ms()
        trade = {"e": "trade", "E": at, "T": at, "s": "BTCUSDT", "t": 7, "p": "64000.1", "q": "0.5", "X": "MARKET"}
        spoken.say({**trade, "m": True})
        assert [(t.price, t.quantity, t.is_buyer_maker, t.trade_id) for t in spoken.heard.trades] == [
            (64000.1, 0.5, True, "7")
        ]
        assert spoken.heard.bad == []


async def test_documented_frames_of_bybits_linear_topics_are_delivered() -> None:
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
    """Binance's spot and futures number their trades separately."""
    venue = open_venue("binance", Access(market_type=market_type))
    assert venue.profile.recent_trades["fetchTradesMethod"] == path
    assert bool(venue.profile.older_trades) is (market_type == "spot")
    await venue.close()


async def test_block_trades_are_left_out_and_counted_one_by_one() -> None:
    """A trade with retail price improvement was matched in the order book, so it is delivered."""
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
async def test_gates_takeover_trades_are_left_out(internal: bool) -> None:
    async with spoken_of("gate", {"BTC/USDT:USDT": "BTC_USDT"}, contract_size=0.0001) as spoken:
        at = now_ms()
        row = {"size": -108, "id": 27753479, "create_time": at // 1000, "create_time_ms": at, "price": "61000.4",
               "contract": "BTC_USDT", "is_internal": internal}  # fmt: skip
        spoken.say({"channel": "futures.trades", "event": "update", "time": at // 1000, "result": [row]})
        assert (len(spoken.live), spoken.heard.off_book) == ((0, ["BTC"]) if internal else (1, []))
