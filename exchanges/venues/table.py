"""The venues that have something special about them, as a table.

Every ccxt.pro id that has no row of its own gets the generic one. A limit or an option that stands here comes from the
venue's documentation or was measured against ccxt's own module; the adapter reads the row and knows no venue by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from exchanges.names import ALIASES, canonical, exchange_names, nearest
from exchanges.venues import frame_markets
from exchanges.venues.binance_frames import BINANCE
from exchanges.venues.bybit_frames import BYBIT
from exchanges.venues.profile import MARKET_ID, Capacity, Profile, Rejection


def _binance_candle_closed(frame: Any, row: Any) -> bool | None:
    return bool(frame["k"]["x"])


def _binance_going_down(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("e") == "serverShutdown"


def _binance_no_trade(raw: Any) -> bool:
    """An id alone."""
    return isinstance(raw, dict) and raw.get("X") == "NA"


def _binance_off_book(raw: Any) -> bool:
    """Of the insurance fund, or of deleveraging: its REST has none of them."""
    return isinstance(raw, dict) and raw.get("X") in ("INSURANCE_FUND", "ADL")


def _bybit_off_book(raw: Any) -> bool:
    """A block trade (Bybit v5, public trade channel and recent public trades). RPI orders are matched in the book."""
    return isinstance(raw, dict) and bool(raw.get("BT") or raw.get("isBlockTrade"))


def _gate_off_book(raw: Any) -> bool:
    """A take-over by the insurance fund or by deleveraging (Gate v4, futures trades), which its bars leave out too."""
    return isinstance(raw, dict) and raw.get("is_internal") is True


def _deribit_off_book(raw: Any) -> bool:
    """Part of a block trade (Deribit v2, trades)."""
    return isinstance(raw, dict) and bool(raw.get("block_trade_id"))


def _krakenfutures_off_book(raw: Any) -> bool:
    """Part of a block trade, or a position that was terminated or assigned (Kraken Futures, trade feed and history)."""
    return isinstance(raw, dict) and raw.get("type") in ("block", "termination", "assignment")


def _paradex_off_book(raw: Any) -> bool:
    return isinstance(raw, dict) and raw.get("trade_type") in ("BLOCK_TRADE", "TRANSFER", "SETTLE_MARKET")


def _bybit_candle_closed(frame: Any, row: Any) -> bool | None:
    return next((bool(bar["confirm"]) for bar in frame["data"] if bar["start"] == row[0]), None)


def _okx_candle_closed(frame: Any, row: Any) -> bool | None:
    """The last column, "confirm" (OKX v5, candlesticks channel)."""
    return next((bar[8] == "1" for bar in frame["data"] if int(bar[0]) == row[0]), None)


def _gate_bar(frame: Any, row: Any) -> Mapping[str, Any]:
    bars = frame["result"] if isinstance(frame["result"], list) else [frame["result"]]
    return next((bar for bar in bars if int(bar["t"]) * 1000 == row[0]), {})


def _gate_candle_closed(frame: Any, row: Any) -> bool | None:
    """The field "w", the window is closed (Gate v4, spot candlesticks channel)."""
    closed = _gate_bar(frame, row).get("w")
    return None if closed is None else bool(closed)


def _gate_candle_volume(frame: Any, row: Any) -> Any:
    """The field "a", base currency amount (the same page); ccxt takes "v", which is in quote currency on spot."""
    return _gate_bar(frame, row).get("a") if frame["channel"].startswith("spot") else None


def _snapshot(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("type") == "snapshot"


def _bitfinex_snapshot(frame: Any) -> bool:
    return isinstance(frame, list) and len(frame) == 2  # [channel, rows]; a live one is [channel, "te", row]


def _gemini_snapshot(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("type") == "l2_updates"  # live ones are "trade"


def _bitget_snapshot(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("action") == "snapshot"  # live trades are "update"


def _coinbase_snapshot(frame: Any) -> bool:
    return isinstance(frame, dict) and any(event.get("type") == "snapshot" for event in frame.get("events", ()))


def _kraken_refusal(frame: Any) -> Rejection | None:
    if frame.get("method") != "subscribe" or frame.get("success") is not False:
        return None
    return Rejection(str(frame.get("error")), alone=True)


def _kucoin_refusal(frame: Any) -> Rejection | None:
    return Rejection(str(frame.get("data"))) if frame.get("type") == "error" else None


def _coinbase_refusal(frame: Any) -> Rejection | None:
    return Rejection(str(frame.get("message"))) if frame.get("type") == "error" else None


def _bitfinex_refusal(frame: Any) -> Rejection | None:
    if not isinstance(frame, dict) or frame.get("event") != "error":
        return None
    return Rejection(str(frame.get("msg")), channel=str(frame.get("channel", "")))


def _cryptocom_refusal(frame: Any) -> Rejection | None:
    return Rejection(str(frame.get("message"))) if frame.get("method") == "subscribe" and frame.get("code") else None


def _phemex_refusal(frame: Any) -> Rejection | None:
    error = frame.get("error")
    return Rejection(str(error.get("message"))) if isinstance(error, dict) else None


def _first_told(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("stream_type") == "SNAPSHOT"


def _joined_by_type(requests: Sequence[Any]) -> list[Any]:
    """One of requests like [{"ticket": ...}, {"type": ..., "codes": [...]}, ...]."""
    codes: dict[str, dict[str, None]] = {}
    for request in requests:
        for part in request[1:]:
            codes.setdefault(part["type"], {}).update(dict.fromkeys(part["codes"]))
    return [requests[-1][0], *({"type": kind, "codes": list(of)} for kind, of in codes.items())]


def _bitstamp_going_down(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("event") == "bts:request_reconnect"


def _bitstamp_refusal(frame: Any) -> Rejection | None:
    if frame.get("event") != "bts:error":
        return None
    return Rejection(str((frame.get("data") or {}).get("message")), unnamed=True)


def _bitstamp_confirms(frame: Any) -> tuple[str, str] | None:
    """Of "live_trades_btcusd" or "order_book_btcusd"."""
    if frame.get("event") != "bts:subscription_succeeded":
        return None
    kind, _, market_id = frame["channel"].rpartition("_")
    return "trades" if kind == "live_trades" else "quotes", market_id


def _gemini_refusal(frame: Any) -> Rejection | None:
    return Rejection(str(frame.get("reason")), unnamed=True) if frame.get("result") == "error" else None


def _gemini_confirms(frame: Any) -> tuple[str, str] | None:
    """A subscription to candles is answered with those that there are (v2, candles)."""
    return ("candles", frame["symbol"].lower()) if str(frame.get("type")).startswith("candles_") else None


def _mexc_refusal(frame: Any) -> Rejection | None:
    text = frame.get("msg") if isinstance(frame, dict) else None
    return Rejection(text.strip()) if isinstance(text, str) and text.startswith("Not Subscribed") else None


def _htx_time(frame: Any) -> int:
    return int(frame["ts"])


# One connection for all coins and channels: without these limits ccxt opens one per call. The full ticker instead of
# the mini ticker, because it has bid and ask (pro/binance.py, watchTickers).
_BINANCE_OPTIONS: Mapping[str, Any] = {
    "streamLimits": {"spot": 1, "linear": 1, "inverse": 1},
    "subscriptionLimitByStream": {"spot": 1024, "linear": 1024, "inverse": 1024},
    "watchTickers": {"name": "ticker"},
}


def _binance(name: str, *, sandbox: bool = False, testnet: bool = True, note: str = "") -> Profile:
    return Profile(
        name,
        ALIASES[name],
        sandbox=sandbox,
        testnet=testnet,
        options=_BINANCE_OPTIONS,
        chunk=100,
        capacity=Capacity(1024),  # streams: Binance, WebSocket streams, limits
        dials=300,  # per 5 minutes and IP: Binance, WebSocket streams, limits
        candle_closed=_binance_candle_closed,
        consecutive_ids=True,
        recent_trades={"fetchTradesMethod": "publicGetTrades"},  # aggTrades, ccxt's default, have ids of their own
        older_trades={"fetchTradesMethod": "publicGetHistoricalTrades"},  # dear: ccxt counts it 40 times the other
        fetches=240,  # of weight 25, out of 6000 per minute and IP: Binance, REST limits
        keyless=frozenset({"historicalTrades"}),  # since 2023-08: binance-connector-python 3.2.0, changelog
        swap={
            "recent_trades": {"fetchTradesMethod": "fapiPublicGetTrades"},  # the other endpoints have spot's trades
            "older_trades": {},  # only with an API key
            "consecutive_ids": False,  # nowhere promised
            "dials": 150,  # of two sockets each: what is traded and what is summed up have paths of their own
            "off_book": _binance_off_book,
            "no_trade": _binance_no_trade,  # seen live some 15 times a minute, most with a price of zero
        },
        session_limit=86_400,
        going_down=_binance_going_down,
        markets_named=frame_markets.binance,
        hotpath=BINANCE,
        lean=True,
        note=note,
    )


def _bybit(name: str, *, sandbox: bool = False, note: str = "") -> Profile:
    return Profile(
        name,
        ALIASES[name],
        sandbox=sandbox,
        chunk=10,  # args per subscribe request on spot: Bybit v5, WebSocket connect
        capacity=Capacity(21_000, 15, 1),  # characters of args (the same page): "publicTrade." with quotes and a comma
        dials=500,
        trade_market="s",
        trade_texts=("i", "S"),  # without them: the time as the id, and sold (pro/bybit.py, parse_ws_trade)
        off_book=_bybit_off_book,
        markets_named=frame_markets.bybit,
        recent_limit=60,  # on spot: Bybit v5, recent public trades
        swap={"recent_limit": 1000},
        fetches=600,  # 600 within 5 s: Bybit v5, rate limits
        candle_closed=_bybit_candle_closed,
        hotpath=BYBIT,
        lean=True,
        note=note,
    )


# candles_in_contracts: gate's "v", mexc's "vol" and kucoin's sixth column count contracts on swap (their futures docs,
# klines), and ccxt's parse_ohlcv hands them on; of okx and htx it takes the base volume instead.
_TABLE: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        _bybit("bybit"),
        _binance("binance"),
        _binance("binance_us", testnet=False, note="no testnet of its own"),
        _binance("binance_testnet", sandbox=True, note="paper money"),
        _bybit("bybit_testnet", sandbox=True, note="paper money"),
        Profile(
            "okx",
            "okx",
            dials=450,  # of two sockets each: candles need one of their own
            sockets=(3, 1.0),  # per second and IP: OKX v5, WebSocket, overview, connection count limit
            recent_limit=500,  # OKX v5, market data, trades
            fetches=600,  # 100 within 2 s: the same
            candle_closed=_okx_candle_closed,
            markets_named=frame_markets.okx,
            replays_last=True,
            swap={"tickers_in_contracts": True},  # "vol24h", which ccxt takes (okx.py, parse_ticker)
        ),
        Profile(
            "kraken",
            "kraken",
            history=_snapshot,
            refusal=_kraken_refusal,
            dials=75,  # about 150 per rolling 10 minutes and IP: Kraken, Spot WebSocket FAQ, connection rate limits
            note="asks for one coin's candles per second",
        ),
        Profile(
            "coinbase",
            "coinbase",
            options={"ws": {"cost": 4}},  # times 34 ms between messages: 8 per second (Advanced Trade, rate limits)
            refusal=_coinbase_refusal,
            history=_coinbase_snapshot,
            quote_arrives_as={"USDC": "USD"},  # one book: all channels but user name it -USD (Advanced Trade, channels)
            maker_sides=True,  # market_trades and REST name the maker's side, which ccxt passes on as it is
            beside={"heartbeats": {"type": "subscribe", "channel": "heartbeats"}},  # else quiet channels are closed
            note="tickers every 5 s",
        ),
        Profile(
            "coinbaseexchange",
            "coinbaseexchange",
            trade_market="product_id",
            trade_texts=("maker_order_id", "taker_order_id"),  # without them ccxt takes the side for the taker's
        ),
        Profile(
            "kucoin",
            "kucoin",
            refusal=_kucoin_refusal,
            markets_named=frame_markets.kucoin,
            chunk=100,  # topics per batch: KuCoin, WebSocket, introduction
            capacity=Capacity(300),  # topics: KuCoin, WebSocket, introduction
            singly=frozenset({"ticker"}),  # /market/ticker, which takes many, has no turnover and no change
            options={
                "ws": {"cost": 14},  # times 7.5 ms: 100 messages per 10 s and connection, the same page
                "fetchMarkets": {"fetchTickersFees": False},
            },
            recent_limit=100,  # KuCoin, get trade history
            trade_id=("tradeId", "sequence"),  # the same number; REST has the latter alone
            trade_time="time",  # ccxt takes its nanoseconds through a float, which may cost a millisecond
            candles_in_contracts=True,
        ),
        Profile(
            "gate",
            "gate",
            off_book=_gate_off_book,
            candle_closed=_gate_candle_closed,
            candle_volume=_gate_candle_volume,
            candles_in_contracts=True,
        ),
        Profile(
            "bitget",
            "bitget",
            dials=300,  # per 5 minutes and IP: Bitget v2, WebSocket; 50 topics are within its 4096 bytes per request
            options={"ws": {"cost": 2.5}},  # times 50 ms: 10 messages per second and connection, pings too, the same
            session_limit=86_400,  # the same
            history=_bitget_snapshot,  # Bitget v2, spot, trade channel
            markets_named=frame_markets.okx,
        ),
        Profile(
            "mexc",
            "mexc",
            needs={"google.protobuf": "mexc"},  # its frames are protobuf (pro/mexc.py, handle_message)
            capacity=Capacity(30),  # MEXC spot v3, WebSocket market streams
            session_limit=86_400,  # the same page
            # on spot the first has bid and ask alone, the second is refused, the third kept elsewhere (pro/mexc.py)
            has={"watchTicker": False, "watchTickers": False, "watchBidsAsks": False},
            options={"useCcxtTradeId": False},  # ccxt makes ids over REST, other ones than ours for the stream
            refusal=_mexc_refusal,
            candles_in_contracts=True,
        ),
        Profile(
            "htx",
            "htx",
            replays_last=True,
            venue_time=_htx_time,
            newest_first=True,
            trade_id=("tradeId", "trade-id"),  # its "id" has 27 digits, which become a float on the way
        ),
        Profile(
            "bitfinex",
            "bitfinex",
            capacity=Capacity(25),  # channels: Bitfinex, WebSocket, public channels
            dials=100,  # 20 per minute and IP, the same
            history=_bitfinex_snapshot,
            refusal=_bitfinex_refusal,
        ),
        Profile(
            "gemini",
            "gemini",
            refusal=_gemini_refusal,
            confirms=_gemini_confirms,
            history=_gemini_snapshot,  # of v2 alone, which ccxt asks for a single coin's trades
            recent_limit=500,  # Gemini, REST, trade history
        ),
        Profile(
            "bitstamp",
            "bitstamp",
            refusal=_bitstamp_refusal,
            confirms=_bitstamp_confirms,
            going_down=_bitstamp_going_down,  # Bitstamp, WebSocket v2, forced reconnection
            day_change="percent_change_24",  # its "open", which ccxt takes, is that of the calendar day (Tickers)
        ),
        Profile(
            "cryptocom",
            "cryptocom",
            options={"ws": {"settle": 1.0}},  # "add a 1-second sleep after": Exchange v1, common API reference
            capacity=Capacity(400),  # channels: measured, not documented
            markets_named=frame_markets.cryptocom,
            refusal=_cryptocom_refusal,  # it has the number 0, ccxt's requests have none
            replays_last=True,  # not documented either way
            change_is_ratio=True,  # "c" is -0.0022 for -0.22 % (the same, ticker), which ccxt passes on
            all_tickers=True,  # public/get-tickers takes one instrument or none
        ),
        Profile(
            "hyperliquid",
            "hyperliquid",
            rows_by_place=True,  # an asset is known by its place in the universe, a token by its place among the tokens
            dials=150,  # 30 per minute and IP: Hyperliquid, rate limits and user limits
            singly=frozenset({"ticker"}),  # allMids, which brings all at once, has mids only, of perpetuals too
            # the public ones; ccxt's own request is for a user's fills, and wants to know whose
            recent_trades={"type": "recentTrades", "coin": MARKET_ID, "user": f"0x{0:040x}"},
            replays_last=True,  # measured, not documented
            fetches=60,  # of weight 20, out of 1200 per minute and IP: the same page
        ),
        Profile("poloniex", "poloniex", trade_time="createTime"),  # over REST ccxt takes "ts", when it was sent
        Profile(
            "upbit",
            "upbit",
            chunk=500,  # one request carries all
            joined=_joined_by_type,  # 5 requests per second and 100 per minute: Upbit, rate limits
            history=_first_told,
            trade_time="trade_timestamp",  # ccxt takes "timestamp", when the message was sent
            recent_limit=500,  # Upbit, list of recent pair trades
            fetches=300,  # 10 per second, of trades: Upbit, rate limits
        ),
        Profile(
            "bithumb",
            "bithumb",
            joined=_joined_by_type,  # measured; documented by ccxt for its private socket (pro/bithumb.py)
            history=_first_told,
            trade_id=("",),  # of another kind over REST: 17829816707050000, in the stream 862683813820523888
            recent_limit=500,  # Bithumb, recent trades
            fetches=600,  # 150 per second, of trades: Bithumb, request limits
        ),
        Profile(
            "phemex",
            "phemex",
            capacity=Capacity(20),  # subscriptions: Phemex, WebSocket, API rate limits
            history=_snapshot,
            refusal=_phemex_refusal,
            ties_newest_first=True,
        ),
        Profile("deribit", "deribit", off_book=_deribit_off_book, markets_named=frame_markets.deribit),
        Profile("krakenfutures", "krakenfutures", off_book=_krakenfutures_off_book),
        Profile("paradex", "paradex", off_book=_paradex_off_book),
    )
}

_KIN: Mapping[str, str] = {
    "binancecoinm": "binance",
    "binanceusdm": "binance",
    "bybiteu": "bybit",
    "bybitid": "bybit",
    "gateeu": "gate",
    "kucoinfutures": "kucoin",
    "myokx": "okx",
    "okxus": "okx",
}
"""Venues whose ccxt class is another's with other addresses: what is special about the one holds for the other."""


def profile_of(name: str) -> Profile:
    """The row of ``name``, which is a name of ours or any ccxt.pro id; ValueError names the nearest known ones."""
    key = canonical(name)
    if key in _TABLE:
        return _TABLE[key]
    if key in _KIN:
        return replace(_TABLE[_KIN[key]], name=key, ccxt_id=key)
    known = exchange_names()
    if name not in known:
        hint = " or ".join(nearest(name, known)) or "one of `market-feed exchanges`"
        raise ValueError(f"unknown exchange {name!r}; did you mean {hint}?")
    return Profile(name, name)
