"""Three ways to show a feed: a live table, plain lines, JSON lines; decides how often each of them is updated."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from exchanges.bus import payloads
from feed.channels import BOOKS, CHANNELS, PRICES, TRADES
from feed.cli.arguments import PROGRAM
from feed.cli.process import Exit, interrupted, start_log
from feed.cli.screen import live_table
from feed.cli.screen.book_view import BookView
from feed.cli.screen.live_state import LiveState, Row, clock_remark
from feed.cli.screen.stdout_writer import StdoutWriter

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from feed import MarketFeed, Settings

REFRESH = 0.2  # seconds between two drawings of the table
LINES = 0.25  # seconds between two checks for new events, without a table
PRICE_LINES = 1.0  # seconds between two lines about one coin
HELD_LOG = 50  # the last log lines, kept while the table fills the terminal


class View(Protocol):
    """Shows a feed from before it connects until after it is closed."""

    def attach(self, feed: MarketFeed, settings: Settings) -> None:
        """Subscribe to what is shown."""

    def note(self, event: str, text: str) -> None:
        """Show a line that does not come from the feed."""

    async def run(self) -> None:
        """Show until cancelled, or return when nobody reads the output any more."""

    def close(self) -> None:
        """Show the rest; the feed is closed by now."""


async def show(feed: MarketFeed, settings: Settings, view: View, seconds: float | None, timeout: float) -> int:
    """Connect, show ``seconds`` of live data (None: until cancelled) and disconnect; returns the exit code."""
    view.attach(feed, settings)
    painter = asyncio.create_task(view.run())
    try:
        live = asyncio.create_task(_live(feed, seconds, timeout))
        try:
            await asyncio.wait({painter, live}, return_when=asyncio.FIRST_COMPLETED)
            if live.done():
                live.result()
            else:
                painter.result()
        finally:
            await _ended(live)
            await feed.disconnect()
            await _ended(painter)
    finally:
        view.close()
    return Exit.OK


async def _live(feed: MarketFeed, seconds: float | None, timeout: float) -> None:
    await feed.connect(timeout=timeout)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await feed.wait_closed()


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel ``task`` and wait for its end; its errors are reported elsewhere."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def screen_view(log_level: str | None, book: str | None = None) -> View:
    """Return the table when stdout is a terminal and rich is installed, else plain lines; and start the log.

    ``book`` is the coin whose order book is shown too.
    """
    shown = None if book is None else BookView(book)
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        start_log(log_level or "ERROR")  # every event is already shown as a line
        return PlainView(shown)
    try:
        from rich.console import Console
    except ImportError:
        print(f"{PROGRAM}: for the live table: pip install 'market-feed[cli]'", file=sys.stderr)
        start_log(log_level or "ERROR")
        return PlainView(shown)
    held: deque[str] = deque(maxlen=HELD_LOG)
    start_log(log_level or "WARNING", held.append if sys.stderr.isatty() else None)
    return TableView(Console(), held, shown)


class _BoardView:
    """What the table and the plain lines share: the state that the feed's callbacks update, and a coin's order book."""

    def __init__(self, book: BookView | None = None) -> None:
        self.board = LiveState()
        self.book = book
        self._feed: MarketFeed | None = None

    def attach(self, feed: MarketFeed, settings: Settings) -> None:
        self._feed = feed
        self.board.wall = feed.now
        feed.subscribe_status(self.board.on_status)
        feed.subscribe_price(self.board.on_price)
        if TRADES.name in settings.channels:
            feed.subscribe_trades(self.board.on_trade)
        if self.book is not None:
            self.book.attach(feed)

    def note(self, event: str, text: str) -> None:
        self.board.note(event, text)

    def rows(self) -> list[Row]:
        if self._feed is None:
            return []
        return self.board.rows([coin.symbol for coin in self._feed.coin_configs], self._feed.get_all_prices())


class TableView(_BoardView):
    """Shows the live table on the terminal's alternate screen, where resizing leaves no old text.

    At the end, the table is printed once more on the normal screen.
    """

    def __init__(self, console: Console, held_log: deque[str], book: BookView | None = None) -> None:
        super().__init__(book)
        self._console = console
        self._held_log = held_log

    async def run(self) -> None:
        from rich.live import Live

        with Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while True:
                live.update(self.draw(self._console.height), refresh=True)
                await asyncio.sleep(REFRESH)

    def draw(self, height: int | None = None) -> RenderableType:
        """Return the current state as drawn for a window of ``height`` lines."""
        rows, feed = self.rows(), self._feed
        head = ""
        if feed is not None:
            status = feed.status
            self.board.sample(status)
            since = self.board.connected_for if status.connected else None
            head = live_table.header(
                status.state,
                status.exchange,
                since,
                self.board.message_rate,
                status.reconnect_count,
                status.failover_count,
            )
        book = None if self.book is None else self.book.draw()
        return live_table.screen(head, rows, self.board.notes, clock_remark(rows), self._console, height, book)

    def close(self) -> None:
        sys.stderr.writelines(self._held_log)
        if any(row.price is not None for row in self.rows()):
            self._console.print(self.draw())


class PlainView(_BoardView):
    """Prints a line for each event, and at most one line a second for each coin's price and for the order book."""

    def __init__(self, book: BookView | None = None) -> None:
        super().__init__(book)
        self._printed: dict[str, float] = {}

    async def run(self) -> None:
        every = round(PRICE_LINES / LINES)
        for beat in count():
            self._print(prices=beat % every == 0)
            await asyncio.sleep(LINES)

    def close(self) -> None:
        self._print(prices=True)

    def _print(self, *, prices: bool) -> None:
        lines: list[str] = []
        last: list[str] = []
        for note in self.board.take_notes():
            (last if note.event == "closed" else lines).append(live_table.note_line(note))
        for row in self.rows() if prices else ():
            if row.price is not None and self._printed.get(row.coin) != row.price:
                self._printed[row.coin] = row.price
                lines.append(live_table.price_line(row, self.board.wall()))
        if prices and self.book is not None:
            lines.append(self.book.line(self.board.wall()))
        if lines := lines + last:
            print("\n".join(lines), flush=True)


class JsonView:
    """Prints every event as a JSON object on its own line."""

    def __init__(self, books_of: str | None = None) -> None:
        self._books_of = books_of  # a coin whose order book is shown even if the settings do not name the channel
        self._gone = asyncio.Event()
        self._stdout = StdoutWriter(sys.stdout.fileno(), self._gone.set, interrupted)

    def attach(self, feed: MarketFeed, settings: Settings) -> None:
        feed.subscribe_status(self._on_status)
        for name, channel in CHANNELS.items():
            if channel is PRICES or (name in settings.channels and channel.in_watch):
                feed.subscribe(name, self._writer(channel.json_type))
        if self._books_of is not None and BOOKS.name not in settings.channels:
            feed.subscribe_books(self._writer(BOOKS.json_type), [self._books_of], settings.book_depth)

    def note(self, event: str, text: str) -> None:
        """Do nothing: a program's own remarks are not events of the feed."""

    async def run(self) -> None:
        await self._gone.wait()

    def close(self) -> None:
        self._stdout.close()
        if self._stdout.error is not None:
            raise self._stdout.error

    def _writer(self, kind: str) -> Any:
        encode, write = payloads.writer(kind), self._stdout.write

        def on_event(event: Any) -> None:
            write(encode(event))

        return on_event

    def _on_status(self, event: str, details: Mapping[str, Any]) -> None:
        self._stdout.write(payloads.status(event, details))
