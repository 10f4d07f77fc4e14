"""Simulates Binance's order book streams: @depth, @depth@100ms and the partial books.

As documented at https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams (Diff. Depth Stream,
Partial Book Depth Streams).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from exchanges.simulator.binance.rest import BinanceRest
from exchanges.simulator.books.book_stream import BookStream, Told
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.candles import fixed
from exchanges.simulator.markets.market import Market
from exchanges.simulator.markets.order_book import Side, SimulatedBook

_FORM = re.compile(r"(?P<levels>5|10|20)?(?:@(?P<speed>100|1000)ms)?")


def levels_text(market: Market, levels: Iterable[tuple[int, int]], decimals: int = 8) -> str:
    """Levels as Binance writes them, with eight decimals on spot: ``[["61837.63000000","0.02000000"],...]``."""
    price, size = market.digits, market.lot_digits
    rows = (
        f'["{fixed(ticks, price, max(price, decimals))}","{fixed(lots, size, max(size, decimals))}"]'
        for ticks, lots in levels
    )
    return f"[{','.join(rows)}]"


class BinanceBooks(BinanceRest):
    """Differences with ``U`` and ``u``, without a gap between two differences; a partial book has all of its levels."""

    def book_topic(self, stream: str, market: Market | None, rest: str) -> Topic | None:
        """The topic of ``<symbol>@depth<rest>``; None if there is no such topic."""
        form = _FORM.fullmatch(rest)
        if form is None:
            return None
        return Topic(stream, "books", market, "depth", int(form["speed"] or 1000), levels=int(form["levels"] or 0))

    def begin_book(self, stream: BookStream, book: SimulatedBook) -> None:
        """Begin the stream with the next change, because it has no snapshot."""

    def book_message(self, stream: BookStream, book: SimulatedBook, clock: float, now: int) -> str | None:
        market = stream.market
        fault, crossed = self.book_fault("book-frozen", market), self.book_fault("book-crossed", market) is not None
        if stream.is_current(book):
            return None
        frozen = None if fault is None else str(fault.argument)
        if stream.topic.levels:
            told = stream.top_levels(book, stream.topic.levels, frozen, crossed)
            shown: dict[Side, dict[int, int]] = {"bids": dict(told.bids), "asks": dict(told.asks)}
            if shown == stream.window:
                return None
            stream.window = shown
            return self.partial(stream, told, now)
        first = stream.number + 1
        told = stream.changes(book, frozen, crossed)
        if not told:
            stream.number = first - 1
            return None
        return self.difference(stream, told, first, now)

    def partial(self, stream: BookStream, told: Told, now: int) -> str:
        """A partial book."""
        market = stream.market
        bids, asks = levels_text(market, told.bids), levels_text(market, told.asks)
        return f'{{"lastUpdateId":{told.number},"bids":{bids},"asks":{asks}}}'

    def difference(self, stream: BookStream, told: Told, first: int, now: int) -> str:
        """A difference that continues from the last one, whose last number was ``first`` - 1."""
        market = stream.market
        return (
            f'{{"e":"depthUpdate","E":{now},"s":"{market.id}","U":{first},"u":{told.number},'
            f'"b":{levels_text(market, told.bids)},"a":{levels_text(market, told.asks)}}}'
        )
