"""Turns each of ccxt's errors into Disconnected, Rejected or Blocked, with a reason that can be shown."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from typing import Any

from exchanges import venue_time
from exchanges.ccxt_adapter.bans import Wait, is_rate_limit, wait_told
from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.ccxt_adapter.transport import certificates
from exchanges.errors import Blocked, Disconnected, Rejected, VenueError
from exchanges.foreign_text import LENGTH, Cleaner, beginning, printable
from exchanges.local_faults import local_fault

BLOCKED = frozenset({403, 451})  # HTTP statuses for a location that the venue does not serve
FINAL_OVER_REST = (errors.NotSupported, errors.BadSymbol, errors.AuthenticationError)
"""ccxt's errors for a request that would fail again at every further attempt."""

_LIMITED = (errors.DDoSProtection, errors.RateLimitExceeded)
ADVICE = 300  # the most characters of the advice about a certificate
_CHAIN = 10  # the most errors in a chain of causes


def translated(
    name: str,
    error: Exception,
    final: tuple[type[Exception], ...] | None = None,
    clean: Cleaner | None = None,
) -> VenueError:
    """Turn ccxt's ``error`` into one of our errors, whose type says what the caller can do.

    ``final`` are ccxt's errors for which another attempt does not help; by default all refusals by the venue.
    ``clean`` makes the venue's words printable and safe.
    """
    known = next((each for each in _behind(error) if isinstance(each, VenueError)), None)
    if known is not None:  # an error of ours, which ccxt may have wrapped
        return known
    cause, status, _ = _answer(error)
    reason = _reason(name, error, cause, status, clean or Cleaner())
    wait = told(name, error)
    if status in BLOCKED and not is_rate_limit(status, _words(cause)):
        return Blocked(name, reason, status)
    refusal = isinstance(error, final or errors.ExchangeError) and not isinstance(error, errors.BadResponse)
    if refusal:
        return Rejected(name, reason)
    return Disconnected(name, reason, wait.seconds)


def told(name: str, error: Exception) -> Wait:
    """How long to wait before the next request, read from the answer that caused an error of venue ``name``."""
    if isinstance(error, VenueError):
        return Wait(None)
    cause, status, headers = _answer(error)
    limited = isinstance(error, _LIMITED) and status not in BLOCKED
    at_venue = venue_time.at_venue(name)
    now = time.time() if at_venue is None else at_venue / 1000
    return wait_told(status, headers, _words(cause), now, limited)


def _words(cause: BaseException) -> str:
    """The text of an error, and of the answer that refused a dial."""
    return f"{beginning(str(cause))} {getattr(cause, 'body', '')}"


def _answer(error: Exception) -> tuple[BaseException, int, Any]:
    """The cause of ccxt's error, and the status and headers of the HTTP answer behind it."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error.__cause__ or error
    status = getattr(cause, "status", 0) or getattr(error, "status", 0)
    headers = getattr(cause, "headers", None) or getattr(error, "headers", None) or {}
    return cause, status, headers


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error and its chain of causes."""
    found: list[BaseException] = [error]
    for each in found:
        yield each
        inner = [arg for arg in each.args if isinstance(arg, BaseException)]
        inner += [cause for cause in (each.__cause__, getattr(each, "certificate_error", None)) if cause is not None]
        found += [one for one in inner if one not in found][: _CHAIN - len(found)]


# parts of a reason that are left out: ccxt's prefix of a request, aiohttp's note on TLS, web pages of gateways
_NOISE = re.compile(
    r"^\w+ (?=[A-Z]+ https?://)| ssl:default(?= \[)|<(?:!doctype|html|head|body|\?xml)\b.*", re.I | re.S
)

_REFUSED = re.compile(r"^(?P<code>\d{3}), message='Invalid response status', url='(?P<url>.*)'$")  # a refused upgrade
# a refused request, as ccxt writes it
_ANSWERED = re.compile(r"^(?:[A-Z]+ (?P<url>https?://\S+)|(?P<venue>\w+)) (?P<code>[45]\d\d)(?: (?P<words>.*))?$")


def _reason(name: str, error: Exception, cause: BaseException, status: int, clean: Cleaner) -> str:
    """One line that says what happened, without ccxt's wrapping."""
    if fault := local_fault(_behind(error)):
        return clean(fault, LENGTH)
    silent = "no answer in time" if isinstance(cause, TimeoutError) else type(cause).__name__
    # secrets are hidden first, because a secret may contain a line break
    text = " ".join(_NOISE.sub("", clean.redacted(str(cause))).split()) or silent
    text = _with_status_first(name, text)
    if not isinstance(error, errors.BaseError | OSError | TimeoutError):  # the text is unclear without the error's type
        text = f"sent something that cannot be read ({type(error).__name__}: {text})"
    if status and str(status) not in text:
        text = f"HTTP {status}: {text}"
    text = clean(text, LENGTH)
    refused = [each for each in _behind(error) if isinstance(each, ssl.SSLCertVerificationError)]
    return f"{text} - {printable(certificates.advice(refused[-1]), ADVICE)}" if refused else text


def _with_status_first(name: str, text: str) -> str:
    """Return a refused request or upgrade in one form, whether ccxt or aiohttp has written ``text``."""
    answer = _REFUSED.match(text) or _ANSWERED.match(text)
    venue = answer and answer.groupdict().get("venue")
    # "code 451" may be a venue's own error code
    if answer is None or (venue and not name.replace("_", "").startswith(venue)):
        return text
    found = answer.groupdict("")
    told_by = f"HTTP {found['code']} from {found['url']}" if found["url"] else f"HTTP {found['code']}"
    return f"{told_by}: {found['words']}" if found.get("words") else told_by
