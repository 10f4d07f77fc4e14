"""Simulates Binance spot's WebSocket streams: their paths, requests and messages, and how often tickers come.

As documented at https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence, Set
from typing import Any, ClassVar

from aiohttp import web

from exchanges.simulator.binance.depth import BinanceBooks
from exchanges.simulator.binance.rest import error, restricted
from exchanges.simulator.binance.rows import aggregated, bad_trade, decimal, quote_fields
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.connections.rest_answers import compact
from exchanges.simulator.connections.sessions import Entry
from exchanges.simulator.connections.topics import Topic, TopicKind
from exchanges.simulator.connections.websocket_frames import text_frame
from exchanges.simulator.markets.candles import BINANCE_INTERVALS, SimulatedCandle, candle_end, fixed
from exchanges.simulator.markets.market import Market, Trade

_STREAM = re.compile(r"(?P<symbol>[a-z0-9_-]+)@(?P<channel>[A-Za-z]+)(?:_(?P<interval>\w+))?(?P<rest>.*)")
_KINDS: dict[str, TopicKind] = {
    "trade": "trades",
    "aggTrade": "trades",
    "ticker": "ticker",
    "miniTicker": "ticker",
    "bookTicker": "quotes",
    "kline": "candles",
}
_ALL_TICKERS = {"!ticker@arr": "ticker", "!miniTicker@arr": "miniTicker"}
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


def wrapped(stream: str, payloads: Iterable[str]) -> list[str]:
    """Events as the combined endpoint sends them."""
    head = f'{{"stream":"{stream}","data":'
    return [f"{head}{payload}}}" for payload in payloads]


class Binance(BinanceBooks):
    """The streams @trade, @aggTrade, @ticker, @miniTicker, @bookTicker, @depth and @kline_<interval>.

    Clients read them over raw or combined connections.
    """

    FAMILY: ClassVar[str] = "binance"
    TICKERS_EVERY: ClassVar[float] = 1.0
    CANDLES_EVERY: ClassVar[float] = 2.0
    recorded_streams: Set[str] = frozenset()  # streams of a replay: their events come from the capture alone

    @staticmethod
    def owns(path: str) -> bool:
        return path.startswith("/api/") or path == "/stream" or path == "/ws" or path.startswith("/ws/")

    @staticmethod
    def is_stream(path: str) -> bool:
        return not path.startswith("/api/")

    # -- connections and requests -------------------------------------------------------------------------------

    def entry(self, request: web.Request) -> Entry | web.Response:
        return self.entry_of(request, request.path)

    def entry_of(self, request: web.Request, path: str) -> Entry | web.Response:
        """The streams that an address names; its ``path`` is ``/stream`` or begins with ``/ws``."""
        combined = path == "/stream"
        named = request.query.get("streams", "").split("/") if combined else path.split("/")[2:]
        streams = tuple(name for name in named if "@" in name)
        limit = self.laws.streams
        if limit is not None and len(streams) > limit:
            self.violate(f"{len(streams)} streams in the address of one connection")
            return error(-1100, "Too many streams", status=400)
        return Entry(streams, combined)

    def topic(self, stream: str) -> Topic | None:
        if stream in _ALL_TICKERS:
            return Topic(stream, "ticker", None, _ALL_TICKERS[stream])
        match = _STREAM.fullmatch(stream)
        if match is None:
            return None
        market = self.markets.get(match["symbol"].upper())
        kind = _KINDS.get(match["channel"], "other")
        interval = 0
        if kind == "candles":
            if match["interval"] not in BINANCE_INTERVALS:
                return None
            interval = BINANCE_INTERVALS[match["interval"]]
        if match["channel"] == "depth" and stream not in self.recorded_streams:
            return self.book_topic(stream, market, match["rest"])
        if stream in self.recorded_streams and kind != "trades":
            kind = "other"
        # a market that is not listed is accepted and stays silent, as at Binance
        return Topic(stream, kind, market, match["interval"] if kind == "candles" else match["channel"], interval)

    def receive(self, connection: ClientConnection, text: str) -> None:
        try:
            request = json.loads(text)
        except ValueError as problem:
            self._refuse(connection, 3, f"Invalid JSON: {problem}", None)
            return
        identity = request.get("id") if isinstance(request, dict) else None
        if not isinstance(request, dict) or request.get("method") not in _METHODS:
            expected = f"expected an object with one of the methods {', '.join(_METHODS)}"
            self._refuse(connection, 2, f"Invalid request: {expected}", identity)
            return
        method, params = request["method"], request.get("params", [])
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            self._change(connection, method, params, identity)
        elif method == "LIST_SUBSCRIPTIONS":
            self._accept(connection, list(connection.subscriptions), identity)
        elif method == "SET_PROPERTY" and isinstance(params, list) and params[:1] == ["combined"]:
            connection.combined = bool(params[1:] and params[1])
            self._accept(connection, None, identity)
        else:
            self._accept(connection, connection.combined, identity)

    def _change(self, connection: ClientConnection, method: str, params: Any, identity: Any) -> None:
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            self._refuse(connection, 2, "Invalid request: params must be an array of stream names", identity)
            return
        if method == "UNSUBSCRIBE":
            for name in params:
                self.unsubscribe(connection, name)
            self._accept(connection, None, identity)
            return
        topics = {name: self.topic(name) for name in params}
        wrong = [name for name, topic in topics.items() if topic is None]
        if wrong:
            self._refuse(connection, 2, f"Invalid request: invalid stream {wrong[0]}", identity)
            return
        total, limit = len(connection.subscriptions.keys() | topics.keys()), self.laws.streams
        if limit is not None and total > limit:
            self.violate(f"{total} streams on connection {connection.id}")
            self._refuse(connection, 2, f"Invalid request: more than {limit} streams", identity)
            return
        self._accept(connection, None, identity)
        for topic in topics.values():
            if topic is not None:
                self.subscribe(connection, topic)
        self.subscribed()

    def _accept(self, connection: ClientConnection, result: Any, identity: Any) -> None:
        self.reply(connection, compact({"result": result, "id": identity}))

    def _refuse(self, connection: ClientConnection, code: int, message: str, identity: Any) -> None:
        self.reply(connection, compact({"error": {"code": code, "msg": message}, "id": identity}))

    def shutdown_notice(self) -> None:
        """Tell every client that its connection will be closed soon."""
        for connection in self.connections:
            self.reply(connection, f'{{"e":"serverShutdown","E":{self.now()}}}')
        self.flush()

    # -- events -------------------------------------------------------------------------------------------------

    def deliver(self, topic: Topic, payloads: Sequence[str], subscribers: Iterable[ClientConnection]) -> None:
        """Queue events: unchanged for raw connections, wrapped for combined connections. Each form is encoded once."""
        frames: dict[bool, list[bytes]] = {}
        for connection in subscribers:
            if connection.combined not in frames:
                texts = wrapped(topic.stream, payloads) if connection.combined else payloads
                frames[connection.combined] = [text_frame(text) for text in texts]
            self.queue(connection, frames[connection.combined])

    def send_trades(self, market: Market, trades: list[Trade]) -> None:
        if not trades:
            return
        key = market.id.lower()
        for stream in (f"{key}@trade", f"{key}@aggTrade"):
            topic = self.topics.get(stream)
            if topic is not None and (topic.variant == "trade" or stream not in self.recorded_streams):
                self.send_all(stream, self.trade_payloads(topic, market, trades))
        self.send_quote(market)

    def send_quote(self, market: Market) -> None:
        stream = f"{market.id.lower()}@bookTicker"
        wanted = stream in self.topics and stream not in self.recorded_streams
        if wanted and not self.dumb and not self.withheld(market):
            self.send(stream, self.quote_event(market))

    def show(self, market: Market, stream: str, payload: str) -> None:
        """Send a recorded event of a replay, verbatim."""
        if not self.dumb and not self.withheld(market):
            self.send(stream, payload)

    def trade_payloads(self, topic: Topic, market: Market, trades: list[Trade]) -> Sequence[str]:
        return self.trade_events(market, trades) if topic.variant == "trade" else self._aggregates_of(market, trades)

    def trade_events(self, market: Market, trades: list[Trade]) -> list[str]:
        """One event per trade."""
        now, digits, lot_digits = self.now(), market.digits, market.lot_digits
        head, recorded = f'{{"e":"trade","E":{now},"s":"{market.id}","t":', market.recorded
        payloads = [
            recorded.get(trade.id, "")
            or f'{head}{trade.id},"p":"{decimal(trade.price, digits)}","q":"{decimal(trade.quantity, lot_digits)}",'
            f'"T":{trade.timestamp},"m":{"true" if trade.buyer_maker else "false"},"M":true}}'
            for trade in trades
        ]
        return self.mix(payloads, bad_trade)

    def _aggregates_of(self, market: Market, trades: list[Trade]) -> list[str]:
        now = self.now()
        return [
            f'{{"e":"aggTrade","E":{now},"s":"{market.id}","a":{first.order},"p":"{first.price:.8f}",'
            f'"q":"{quantity}","f":{first.id},"l":{last.id},"T":{first.timestamp},'
            f'"m":{str(first.buyer_maker).lower()},"M":true}}'
            for first, last, quantity in aggregated(market, trades)
        ]

    def quote_event(self, market: Market) -> str:
        """The best prices and sizes, with the number of the book's state."""
        quote = quote_fields(market)
        return (
            f'{{"u":{market.update_id},"s":"{market.id}","b":"{quote["bidPrice"]}","B":"{quote["bidQty"]}",'
            f'"a":"{quote["askPrice"]}","A":"{quote["askQty"]}"}}'
        )

    def send_ticker(self, topic: Topic, market: Market, now: int) -> None:
        self.send(topic.stream, compact(self.ticker_event(topic.variant, market, now)))

    def send_all_tickers(self, topic: Topic, markets: list[Market], now: int) -> None:
        if markets:
            self.send(topic.stream, compact([self.ticker_event(topic.variant, market, now) for market in markets]))

    def ticker_event(self, variant: str, market: Market, now: int) -> dict[str, Any]:
        """The day's summary, ``variant`` ticker or miniTicker."""
        day = self.day(market, now)
        last, opened = day["lastPrice"], day["openPrice"]
        head = {"E": now, "s": market.id}
        event: dict[str, Any] = {"e": "24hrMiniTicker", **head, "c": last, "o": opened}
        if variant == "ticker":
            event = {"e": "24hrTicker", **head, "p": day["priceChange"], "P": day["priceChangePercent"]}
            event |= {"w": day["weightedAvgPrice"], "x": day["prevClosePrice"], "c": last, "Q": day["lastQty"]}
            event |= {"b": day["bidPrice"], "B": day["bidQty"], "a": day["askPrice"], "A": day["askQty"], "o": opened}
        event |= {"h": day["highPrice"], "l": day["lowPrice"], "v": day["volume"], "q": day["quoteVolume"]}
        if variant == "ticker":
            event |= {"O": day["openTime"], "C": day["closeTime"], "F": day["firstId"], "L": day["lastId"]}
            event["n"] = day["count"]
        return event

    def send_candle(self, topic: Topic, market: Market, candle: SimulatedCandle, closed: bool) -> None:
        price, lots = market.digits, market.lot_digits
        money, end = price + lots, candle_end(candle.start, topic.interval)
        shown = {
            "t": candle.start, "T": end - 1, "s": market.id, "i": topic.variant, "f": candle.first_id,
            "L": candle.last_id,
            "o": fixed(candle.open, price, 8), "c": fixed(candle.close, price, 8),
            "h": fixed(candle.high, price, 8), "l": fixed(candle.low, price, 8),
            "v": fixed(candle.lots, lots, 8), "n": candle.count, "x": closed, "q": fixed(candle.turnover, money, 8),
            "V": fixed(candle.buy_lots, lots, 8), "Q": fixed(candle.buy_turnover, money, 8), "B": "0",
        }  # fmt: skip
        self.send(topic.stream, compact({"e": "kline", "E": self.now(), "s": market.id, "k": shown}))

    # -- answers of the venue's edge ----------------------------------------------------------------------------

    def blocked_response(self, status: int) -> web.Response:
        return restricted(status)

    def too_many_dials(self, retry_after: float) -> web.Response:
        response = error(-1003, "Too many connection attempts; please try again later.", status=429)
        response.headers["Retry-After"] = str(int(retry_after) + 1)
        return response
