"""Shows one coin's order book: beside the live table, or as a line of plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feed.cli.screen.live_table import clock, price
from feed.errors import StaleDataError
from feed.events import OrderBook

if TYPE_CHECKING:
    from rich.console import RenderableType

    from feed import MarketFeed

LEVELS = 10  # levels shown of each side


class BookView:
    """Shows the book of ``coin`` if it is proven and fresh; otherwise the reason why it is not."""

    def __init__(self, coin: str) -> None:
        self.coin = coin
        self._feed: MarketFeed | None = None

    def attach(self, feed: MarketFeed) -> None:
        """Make the feed subscribe to the book."""
        self._feed = feed
        feed.subscribe_books(_nothing, [self.coin], LEVELS)

    def now(self) -> OrderBook | str:
        """The current book, or the reason why there is none."""
        if self._feed is None:
            return "the feed is not connected"
        try:
            return self._feed.require_fresh_book(self.coin, depth=LEVELS)
        except StaleDataError as error:
            return error.reason

    def line(self, at: float) -> str:
        """The book in one line: the best bid and ask with their sizes, and the sum of each side's sizes."""
        book = self.now()
        if isinstance(book, str) or not book.bids or not book.asks:
            return f"{clock(at)} {self.coin:<6} order book: {book if isinstance(book, str) else 'one side is empty'}"
        (bid, bid_size), (ask, ask_size) = book.bids[0], book.asks[0]
        return (
            f"{clock(at)} {self.coin:<6} order book: {size(bid_size)} at {price(bid)} | {price(ask)} for "
            f"{size(ask_size)}, {LEVELS} levels: {size(sum(s for _, s in book.bids))} | "
            f"{size(sum(s for _, s in book.asks))}  {book.exchange}"
        )

    def draw(self) -> RenderableType:
        """A table for rich: bids on the left, asks on the right, the best level first."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        book = self.now()
        if isinstance(book, str):
            return Text(f" {self.coin} order book: {book}", style="yellow")
        spread = "" if book.spread is None else f", spread {price(book.spread)}"
        title = Text(f" {self.coin} order book of {book.exchange}{spread}", no_wrap=True)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in ("size", "bid", "ask", "size"):
            table.add_column(name, justify="left" if name == "ask" else "right", no_wrap=True)
        for place in range(min(LEVELS, max(len(book.bids), len(book.asks)))):
            bid, ask = _level(book.bids, place), _level(book.asks, place)
            table.add_row(bid[1], Text(bid[0], style="green"), Text(ask[0], style="red"), ask[1])
        return Group(title, table)


def size(value: float) -> str:
    """A size in at most about seven characters: 0.01234, 12.5, 1,234."""
    return f"{value:.5g}" if value < 1_000 else f"{value:,.0f}"


def _level(levels: list[tuple[float, float]], place: int) -> tuple[str, str]:
    """Price and size as text; empty beyond the last level."""
    return (price(levels[place][0]), size(levels[place][1])) if place < len(levels) else ("", "")


def _nothing(book: OrderBook) -> None:
    """The callback of the subscription, which does nothing: the screen asks for the latest book when it is drawn."""
