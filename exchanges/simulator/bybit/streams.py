"""Simulates Bybit v5's public spot stream: its requests and messages, and how often tickers come.

As documented at https://bybit-exchange.github.io/docs/v5/ws/connect
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from aiohttp import web

from exchanges.simulator.bybit.depth import BybitBooks, book_topic
from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.connections.rest_answers import compact
from exchanges.simulator.connections.sessions import Entry
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.candles import BYBIT_INTERVALS, SimulatedCandle, candle_end, candle_start, fixed
from exchanges.simulator.markets.market import Market, Trade

PER_FRAME = 100  # the most trades in a frame; the venue sends up to 1024


class Bybit(BybitBooks):
    """The topics publicTrade, tickers, kline.<interval> and orderbook.<depth> of ``/v5/public/spot``."""

    FAMILY: ClassVar[str] = "bybit"
    TICKERS_EVERY: ClassVar[float] = 0.1
    CANDLES_EVERY: ClassVar[float] = 1.0

    @staticmethod
    def owns(path: str) -> bool:
        return path.startswith("/v5/")

    @staticmethod
    def is_stream(path: str) -> bool:
        return path.startswith("/v5/public/")

    # -- connections and requests -------------------------------------------------------------------------------

    def entry(self, request: web.Request) -> Entry | web.Response:
        if request.path != "/v5/public/spot":
            return web.Response(status=404, text="404 page not found")
        return Entry()

    def topic(self, stream: str) -> Topic | None:
        channel, _, symbol = stream.rpartition(".")
        market = self.markets.get(symbol)
        if market is None:
            return None
        if channel == "publicTrade":
            return Topic(stream, "trades", market, channel)
        if channel == "tickers":
            return Topic(stream, "ticker", market, channel)
        name, _, interval = channel.partition(".")
        if name == "kline" and interval in BYBIT_INTERVALS:
            return Topic(stream, "candles", market, interval, BYBIT_INTERVALS[interval])
        if name == "orderbook":
            return book_topic(stream, market, interval)
        return None

    def receive(self, connection: ClientConnection, text: str) -> None:
        try:
            request = json.loads(text)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._refuse(connection, "error:invalid json", {})
            return
        operation, args = request.get("op"), request.get("args", [])
        if operation == "ping":
            self._answer(connection, True, "pong", request)
        elif operation not in ("subscribe", "unsubscribe"):
            self._refuse(connection, "error:invalid op", request)
        elif not isinstance(args, list) or not args or not all(isinstance(name, str) for name in args):
            self._refuse(connection, "error:request args must be an array of topics", request)
        else:
            self._change(connection, operation, args, request)

    def _change(self, connection: ClientConnection, operation: str, args: list[str], request: dict[str, Any]) -> None:
        laws = self.laws
        if laws.args_per_request is not None and len(args) > laws.args_per_request:
            self.violate(f"{len(args)} args in one request on connection {connection.id}")
            self._refuse(connection, f"args size >{laws.args_per_request}", request)
            return
        if operation == "unsubscribe":
            for name in args:
                self.unsubscribe(connection, name)
            self._answer(connection, True, operation, request)
            return
        reason = self._objection(connection, args)
        if reason is not None:
            self._refuse(connection, reason, request)
            return
        self._answer(connection, True, operation, request)
        for name in args:
            topic = self.topic(name)
            if topic is not None:
                self.subscribe(connection, topic)
                self._snapshot(connection, self.topics[name])
        self.subscribed()

    def _objection(self, connection: ClientConnection, args: list[str]) -> str | None:
        """Why a subscription is refused; None if it is not. One wrong topic makes Bybit refuse all topics of it."""
        for name in args:
            if self.topic(name) is None:
                known = name.rpartition(".")[2] in self.markets
                return f"error:handler not found,topic:{name}" if known else f"Invalid symbol :[{name}]"
            if name in connection.subscriptions:  # seen at the venue: github.com/ccxt/ccxt/issues/30284
                return f"error:already subscribed,topic:{name}"
        total, limit = sum(map(len, [*connection.subscriptions, *args])), self.laws.args_characters
        if limit is not None and total > limit:
            self.violate(f"{total} characters of args on connection {connection.id}")
            return f"args characters >{limit}"
        return None

    def _answer(self, connection: ClientConnection, success: bool, message: str, request: dict[str, Any]) -> None:
        identity = UUID(int=(hash(self.name) << 32 | connection.id) & (1 << 128) - 1)
        answer = {"success": success, "ret_msg": message, "conn_id": str(identity)}
        answer |= {"req_id": str(request.get("req_id", "")), "op": request.get("op", "")}
        self.reply(connection, compact(answer))

    def _refuse(self, connection: ClientConnection, message: str, request: dict[str, Any]) -> None:
        self._answer(connection, False, message, request)

    def _snapshot(self, connection: ClientConnection, topic: Topic) -> None:
        """Send a new subscriber the topic's ticker, candle or book at once; it is as late as the stream."""
        market, now = topic.market, self.now()
        if market is None or self.dumb or self.withheld(market):
            return
        if topic.kind == "books":
            self.book_snapshot(connection, topic)
            return
        lag = self.stream_lag(connection.id)
        if lag:
            now -= round(lag * 1000)
            market = market.as_of(now)
        if topic.kind == "ticker":
            self.reply(connection, self._ticker(topic, market, now))
        elif topic.kind == "candles":
            start = candle_start(now, topic.interval)
            candle = market.candle(start, topic.interval, now)
            self.reply(connection, self._candle(topic, market, candle, False, now))

    # -- events -------------------------------------------------------------------------------------------------

    def send_trades(self, market: Market, trades: list[Trade]) -> None:
        stream = f"publicTrade.{market.id}"
        topic = self.topics.get(stream)
        if topic is not None and trades:
            self.send_all(stream, self.trade_payloads(topic, market, trades))

    def trade_payloads(self, topic: Topic, market: Market, trades: list[Trade]) -> Sequence[str]:
        now, digits, lot_digits = self.now(), market.digits, market.lot_digits
        head = f'{{"topic":"{topic.stream}","ts":{now},"type":"snapshot","data":['
        payloads = []
        for first in range(0, len(trades), PER_FRAME):
            rows = [
                f'{{"i":"{trade.id}","T":{trade.timestamp},"p":"{trade.price:.{digits}f}",'
                f'"v":"{trade.quantity:.{lot_digits}f}","S":"{"Sell" if trade.buyer_maker else "Buy"}",'
                f'"s":"{market.id}","BT":{"true" if trade.block else "false"},"RPI":false,"seq":{trade.order}}}'
                for trade in trades[first : first + PER_FRAME]
            ]
            payloads.append(f"{head}{','.join(rows)}]}}")
        return self.mix(payloads, bad_trades)

    def send_quote(self, market: Market) -> None:
        """Do nothing: Bybit has no stream of best prices apart from its books."""

    def send_ticker(self, topic: Topic, market: Market, now: int) -> None:
        self.send(topic.stream, self._ticker(topic, market, now))

    def _ticker(self, topic: Topic, market: Market, now: int) -> str:
        data = {**self.day(market, now), "usdIndexPrice": fixed(market.last_price, market.digits)}
        for name in ("bid1Price", "bid1Size", "ask1Price", "ask1Size"):
            del data[name]  # REST only
        return compact({"topic": topic.stream, "ts": now, "type": "snapshot", "cs": market.order, "data": data})

    def send_candle(self, topic: Topic, market: Market, candle: SimulatedCandle, closed: bool) -> None:
        self.send(topic.stream, self._candle(topic, market, candle, closed, self.now()))

    def _candle(self, topic: Topic, market: Market, candle: SimulatedCandle, closed: bool, now: int) -> str:
        price, lots = market.digits, market.lot_digits
        shown = {
            "start": candle.start, "end": candle_end(candle.start, topic.interval) - 1, "interval": topic.variant,
            "open": fixed(candle.open, price), "close": fixed(candle.close, price),
            "high": fixed(candle.high, price), "low": fixed(candle.low, price),
            "volume": fixed(candle.lots, lots), "turnover": fixed(candle.turnover, price + lots),
            "confirm": closed, "timestamp": now,
        }  # fmt: skip
        return compact({"type": "snapshot", "topic": topic.stream, "data": [shown], "ts": now})

    # -- answers of the venue's edge ----------------------------------------------------------------------------

    def too_many_dials(self, retry_after: float) -> web.Response:
        return self.blocked_response(403)


def bad_trades(good: str, number: int) -> str:
    """A bad frame made of a good one; in turn: truncated JSON, a null row, an amount that is no number."""
    head, _, rows = good.partition('"data":[')
    row = rows.partition("}")[0]
    if number % 3 == 0:
        return good[: len(head) + 40]
    if number % 3 == 1:
        return f'{head}"data":[null]}}'
    before, _, after = row.partition('"v":"')
    return f'{head}"data":[{before}"v":"many"{after.partition(chr(34))[2]}}}]}}'
