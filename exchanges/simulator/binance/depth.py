"""Binance's order book streams: @depth, @depth@100ms and the partial books, as documented at
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams (Diff. Depth Stream, Partial Book Depth
Streams).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from exchanges.simulator.binance.rest import BinanceRest
from exchanges.simulator.binance.rows import decimal
from exchanges.simulator.books.book_stream import BookStream, Told
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.market import Market
from exchanges.simulator.markets.order_book import OrderBook

_FORM = re.compile(r"(?P<levels>5|10|20)?(?:@(?P<speed>100|1000)ms)?")


def book_topic(stream: str, market: Market | None, rest: str) -> Topic | None:
    """The topic of ``<symbol>@depth<rest>``; None for one that does not exist."""
    form = _FORM.fullmatch(rest)
    if form is None:
        return None
    return Topic(stream, "books", market, "depth", int(form["speed"] or 1000), levels=int(form["levels"] or 0))


def levels_text(market: Market, levels: Iterable[tuple[int, int]]) -> str:
    """Levels as Binance writes them: ``[["61837.63000000","0.02000000"],...]``."""
    scale, digits, lot_scale, lot_digits = market.scale, market.digits, market.lot_scale, market.lot_digits
    rows = (f'["{decimal(ticks / scale, digits)}","{decimal(lots / lot_scale, lot_digits)}"]' for ticks, lots in levels)
    return f"[{','.join(rows)}]"


class BinanceBooks(BinanceRest):
    """Differences with ``U`` and ``u``, without a hole between two of them; a partial book has all of its levels."""

    def begin_book(self, stream: BookStream, book: OrderBook) -> None:
        """The first message tells what changes from here on: there is no snapshot on the stream."""

    def book_message(self, stream: BookStream, book: OrderBook, clock: float, now: int) -> str | None:
        market = stream.market
        fault, crossed = self.book_fault("book-frozen", market), self.book_fault("book-crossed", market) is not None
        if stream.is_current(book):
            return None
        frozen = None if fault is None else str(fault.argument)
        if stream.topic.levels:
            return self._partial(stream, stream.top_levels(book, stream.topic.levels, frozen, crossed))
        first = stream.number + 1
        told = stream.changes(book, frozen, crossed)
        if not told:
            stream.number = first - 1
            return None
        return self._difference(market, told, min(first, told.number), now)

    def _partial(self, stream: BookStream, told: Told) -> str | None:
        market = stream.market
        shown = {"bids": dict(told.bids), "asks": dict(told.asks)}
        if shown == stream.window:
            return None
        stream.window = {"bids": shown["bids"], "asks": shown["asks"]}
        bids, asks = levels_text(market, told.bids), levels_text(market, told.asks)
        return f'{{"lastUpdateId":{told.number},"bids":{bids},"asks":{asks}}}'

    def _difference(self, market: Market, told: Told, first: int, now: int) -> str:
        return (
            f'{{"e":"depthUpdate","E":{now},"s":"{market.id}","U":{first},"u":{told.number},'
            f'"b":{levels_text(market, told.bids)},"a":{levels_text(market, told.asks)}}}'
        )
