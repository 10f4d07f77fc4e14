"""What can go wrong with one venue. ccxt's own errors end in ``translation`` and come out as one of these."""

from __future__ import annotations


class VenueError(Exception):
    """The root: ``exchange`` says which venue, ``reason`` what was found."""

    def __init__(self, exchange: str, reason: str) -> None:
        super().__init__(exchange, reason)
        self.exchange = exchange
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.exchange}: {self.reason}"


class Disconnected(VenueError):
    """The connection failed or ended: try again. ``retry_after`` is the venue's own demand in seconds, or None."""

    def __init__(self, exchange: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(exchange, reason)
        self.retry_after = retry_after


class Rejected(VenueError):
    """The venue does not do what was asked (unknown market, no such channel): trying again won't help."""


class Halted(Rejected):
    """The venue lists the market and does not trade it now (maintenance, a halt): it may trade again."""


class Blocked(VenueError):
    """The venue shuts this place out (HTTP 451, 403): try another venue. ``status`` is the HTTP status."""

    def __init__(self, exchange: str, reason: str, status: int) -> None:
        super().__init__(exchange, reason)
        self.status = status
