"""Applies active faults to order books on their way to the stream, and in REST answers."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Any, Literal

from exchanges.simulator.connections.trade_faults import TradeFaults
from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import ALL, Fault
from exchanges.simulator.markets.market import Market


class BookFaults(TradeFaults):
    """Faults of order books, of one ``coin`` or of all; ``share`` is a share of a stream's messages."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._next: dict[str, str] = {}  # stream -> the message that comes after the next one

    @abstractmethod
    def send(self, stream: str, payload: str) -> None:
        """Send a message to the subscribers of its stream."""

    def books_lost(self, share: float, coin: str = ALL) -> AbstractContextManager[None]:
        """This share of the messages does not come; the numbers in later messages show that."""
        return self.inject(Fault("book-lost", share, coin=coin.upper()))

    def books_doubled(self, share: float, coin: str = ALL) -> AbstractContextManager[None]:
        """This share of the messages comes twice."""
        return self.inject(Fault("book-doubled", share, coin=coin.upper()))

    def books_late(self, share: float, seconds: float = 1.0, coin: str = ALL) -> AbstractContextManager[None]:
        """This share of the messages comes ``seconds`` late, after the messages that follow."""
        return self.inject(Fault("book-late", share, seconds, coin.upper()))

    def books_reordered(self, share: float, coin: str = ALL) -> AbstractContextManager[None]:
        """This share of the messages changes places with the message that follows."""
        return self.inject(Fault("book-reordered", share, coin=coin.upper()))

    def books_frozen(self, side: Literal["bids", "asks"], coin: str = ALL) -> AbstractContextManager[None]:
        """Nothing is sent about one side, although the numbers continue without a gap.

        At the end all changes are sent.
        """
        return self.inject(Fault("book-frozen", side, coin=coin.upper()))

    def books_crossed(self, coin: str = ALL) -> AbstractContextManager[None]:
        """The stream sends a false bid above the best ask, and removes it at the end."""
        return self.inject(Fault("book-crossed", coin=coin.upper()))

    def stale_books(self, seconds: float, coin: str = ALL) -> AbstractContextManager[None]:
        """REST shows the books as they were ``seconds`` ago, with the numbers of that time."""
        return self.inject(Fault("book-stale", seconds, coin=coin.upper()))

    def books_refused(self, status: int = 503, coin: str = ALL) -> AbstractContextManager[None]:
        """Requests for a book are answered with ``status``; the rest of REST works."""
        return self.inject(Fault("book-refused", status, coin=coin.upper()))

    def restart_books(self) -> None:
        """Every stream of books begins again with a snapshot of update id 1, as after a restart of the service."""
        raise SimulatorError("this venue's books never begin again: only Bybit has the fault book-restart")

    def strike(self, fault: Fault) -> None:
        if fault.kind == "book-restart":
            self.restart_books()
        else:
            super().strike(fault)

    def book_fault(self, kind: str, market: Market) -> Fault | None:
        """The fault of this kind that the market's book has; if there are several, the one that was started last."""
        faults = [fault for fault in self.each(kind) if fault.coin in (ALL, market.coin)]
        return faults[-1] if faults else None

    def book_refusal(self, market: Market) -> int | None:
        """The HTTP status with which requests for this book are refused; None if they are not refused."""
        refused = self.book_fault("book-refused", market)
        return None if refused is None else int(refused.argument or 503)

    def disturbed_book(self, stream: str, market: Market, payload: str) -> list[str]:
        """The messages to be sent now, when this message is due."""
        before, now = self._next.pop(stream, None), list[str]()
        if self._hits("book-lost", market):
            pass
        elif self._hits("book-late", market):
            fault = self.book_fault("book-late", market)
            seconds = 1.0 if fault is None or fault.seconds is None else fault.seconds
            self.send_later(seconds, market, lambda: self.send(stream, payload))
        elif before is None and self._hits("book-reordered", market):
            self._next[stream] = payload
        else:
            now = [payload, payload] if self._hits("book-doubled", market) else [payload]
        return now if before is None else [*now, before]

    def _hits(self, kind: str, market: Market) -> bool:
        fault = self.book_fault(kind, market)
        return fault is not None and self.dice.random() < float(fault.argument or 0.0)
