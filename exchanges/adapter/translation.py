"""ccxt's errors end here: what leaves is Disconnected, Refused or Blocked."""

from __future__ import annotations

import math
import re
from typing import Any

import ccxt.pro

from exchanges.errors import Blocked, Disconnected, Refused, VenueError

BLOCKED = frozenset({403, 451})  # HTTP statuses for a place that the venue does not serve
REASON = 200  # characters of a reason
LONGEST_BAN = 259_200.0  # seconds, 3 days: Binance's own bans last no longer; whoever asks for more has slipped
FINAL_OVER_REST = (ccxt.pro.NotSupported, ccxt.pro.BadSymbol, ccxt.pro.AuthenticationError)
"""ccxt's errors for a request that no other try will bring an answer to."""


def translated(name: str, error: Exception, final: tuple[type[Exception], ...] | None = None) -> VenueError:
    """The one of our errors that says what the caller can do about ccxt's ``error``.

    ``final`` are ccxt's errors that trying again can't help; by default every answer that is the venue's own refusal.
    """
    if isinstance(error, VenueError):
        return error
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error.__cause__ or error
    status = getattr(cause, "status", 0) or getattr(error, "status", 0)
    headers = getattr(cause, "headers", None) or getattr(error, "headers", None) or {}
    reason = _reason(error, cause, status)
    if status in BLOCKED:
        return Blocked(name, reason, status)
    refusal = isinstance(error, final or ccxt.pro.ExchangeError) and not isinstance(error, ccxt.pro.BadResponse)
    if refusal:
        return Refused(name, reason)
    return Disconnected(name, reason, _seconds(headers.get("Retry-After")))


# what ccxt puts before a request, aiohttp's word on TLS where there may be none, and web pages of gateways
_NOISE = re.compile(
    r"^\w+ (?=[A-Z]+ https?://)| ssl:default(?= \[)|<(?:!doctype|html|head|body|\?xml)\b.*", re.I | re.S
)

_REFUSED = re.compile(r"^(\d{3}), message='Invalid response status', url='(.*)'$")  # aiohttp, of an upgrade


def _reason(error: Exception, cause: BaseException, status: int) -> str:
    """One line that says what happened, without ccxt's wrapping."""
    silent = "no answer in time" if isinstance(cause, TimeoutError) else type(cause).__name__
    text = " ".join(_NOISE.sub("", str(cause)).split()) or silent
    text = _REFUSED.sub(r"HTTP \1 from \2", text)
    if not isinstance(error, ccxt.pro.BaseError | OSError | TimeoutError):  # a parser's: no person understands it alone
        text = f"sent something that cannot be read ({type(error).__name__}: {text})"
    if status and str(status) not in text:
        text = f"HTTP {status}: {text}"
    return text[:REASON]


def _seconds(retry_after: Any) -> float | None:
    """Retry-After as seconds; the header's other form, a date, no venue here sends."""
    try:
        seconds = float(retry_after)
    except (TypeError, ValueError):
        return None
    return min(max(0.0, seconds), LONGEST_BAN) if math.isfinite(seconds) else None
