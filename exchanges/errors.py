"""The errors of one venue. ``ccxt_adapter/errors.py`` turns each of ccxt's own errors into one of these."""

from __future__ import annotations


class VenueError(Exception):
    """Base class. ``exchange`` names the venue, ``reason`` says what happened."""

    def __init__(self, exchange: str, reason: str) -> None:
        super().__init__(exchange, reason)
        self.exchange = exchange
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.exchange}: {self.reason}"


class Disconnected(VenueError):
    """The connection failed or ended: try again. ``retry_after``: the seconds that the venue asks to wait, or None."""

    def __init__(self, exchange: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(exchange, reason)
        self.retry_after = retry_after


class Rejected(VenueError):
    """The venue rejects the request (unknown market, no such channel): trying again does not help."""


class Halted(Rejected):
    """The venue lists the market but does not trade it now (maintenance, a halt): it may trade again."""


class Blocked(VenueError):
    """The venue does not serve our location (HTTP 451, 403): try another venue. ``status`` is the HTTP status."""

    def __init__(self, exchange: str, reason: str, status: int) -> None:
        super().__init__(exchange, reason)
        self.status = status
