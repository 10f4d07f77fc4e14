"""Reads from a venue's answers how long it has banned us, and makes all requests and dials wait until then.

The header Retry-After has that time. But gateways drop that header, and some venues never send it:

- Binance bans with HTTP 418 and "IP banned until <Unix ms>" in the text
  (https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits).
- Bybit bans for ten minutes with 403 and "access too frequent"
  (https://bybit-exchange.github.io/docs/v5/rate-limit).
- KuCoin sends in the header ``gw-ratelimit-reset`` how many milliseconds are left.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

LONGEST = 259_200.0  # seconds, 3 days: Binance's bans are not longer; a longer time is a mistake
TOO_FREQUENT = 600.0  # seconds of Bybit's ban, whose answer names no time
BANNED = 120.0  # seconds that Binance's shortest ban lasts

_LIMITS = frozenset({418, 429})
_FREQUENT = re.compile(r"too frequent|too many (?:requests|visits)|rate.?limit", re.I)
_BAN = re.compile(r"bann?ed|\bban\b|too frequent", re.I)
_BANNED = re.compile(r"banned", re.I)
_TIME = re.compile(r"(?<![\d.])(?:\d{10}|\d{13}|\d{15,16}|\d{19})(?!\.?\d)")  # Unix seconds, ms, us or ns
_UNTIL = re.compile(rf"\b(?:until|till|after|before)\b\D{{0,20}}?({_TIME.pattern})", re.I)
_DATE = re.compile(r"\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s?(Z|[-+]\d\d:?\d\d)?", re.I)
_HTTP_DATE = re.compile(r"\b\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \w{3}\b")
_LENGTH = (
    r"(?:\d[\d,]{0,11}(?:\.\d{1,9})?|\ban?|\bone)\s*"
    r"(?:milli\w*|ms|s(?:ec\w*)?|m(?:in\w*)?|h(?:rs?|ours?)?|d(?:ays?)?)\b"
)
_LENGTHS = (
    rf"{_LENGTH}(?:[\s,]*(?:and\s+)?{_LENGTH})*|\d{{1,4}}h(?:\d{{1,2}}m)?(?:\d{{1,2}}s)?\b|\d{{1,4}}m\d{{1,2}}s\b"
)
_FOR = re.compile(rf"\b(?:in|after|wait|for|another|next)\b\W{{0,3}}(?:about\s+)?({_LENGTHS})", re.I)
_PIECE = re.compile(r"(\d[\d,]*(?:\.\d+)?|\ban?\b|\bone\b)\s*([a-z]+)", re.I)
_FIELD = re.compile(  # a field such as {"retry_after": 30}
    r"retry[-_ ]?(?:after|in)[-_ ]?(ms|milli\w*)?[\"']?\s*[:=]\s*[\"']?(\d{1,9}(?:\.\d{1,9})?)(?![\d.]|\s*[a-z])", re.I
)
_MOST_SECONDS = 1000.0  # the largest number of seconds in a field without a unit; a larger number is milliseconds
_UNITS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "d": 86_400.0, "day": 86_400.0}
_UNITS |= dict.fromkeys(("h", "hr", "hrs", "hou"), 3600.0)
_EARLIEST = 1e9  # seconds: a larger number is no duration but a Unix time
_EPOCHS = ((1e17, 1e9), (9e14, 1e6), (1e11, 1e3))  # Unix times above the first number have so many units per second
_MILLISECONDS_LEFT = ("gw-ratelimit-reset",)
_RESETS = ("X-Bapi-Limit-Reset-Timestamp", "X-Gate-RateLimit-Reset-Timestamp", "X-RateLimit-Reset", "RateLimit-Reset")


@dataclass(frozen=True, slots=True)
class Wait:
    """``seconds`` to wait from now, None if the answer names no time; ``banned``: no request at all may be sent."""

    seconds: float | None
    banned: bool = False


def is_rate_limit(status: int, text: str) -> bool:
    """Whether an answer reports too many requests. A 403 may mean this, or that our location is blocked. An answer that
    names the end of a ban counts with any error status, because gateways change the status.
    """
    if status in _LIMITS or (status == 403 and _FREQUENT.search(text)):
        return True
    ends = (_TIME, _DATE, _HTTP_DATE, _FOR)
    return status >= 400 and bool(_BANNED.search(text)) and any(end.search(text) for end in ends)


def wait_told(status: int, headers: Mapping[str, str], text: str, now: float, limited: bool = False) -> Wait:
    """Read from an answer when to ask again. ``now``: Unix seconds; the answer's own Date takes precedence.

    ``limited``: it is known already that the answer reports too many requests.
    """
    date = _date(headers.get("Date"))
    now = now if date is None else date
    said = headers.get("Retry-After")
    told = _retry_after(said, now)
    if not limited and not is_rate_limit(status, text):
        return Wait(told)
    banned = status == 418 or bool(_BAN.search(text))
    if not told:  # nothing, or a time that has passed
        text = text if said is None or told is not None else f"retry after {str(said)[:100]}; {text}"
        ends = [*_in_headers(headers, now), *_in_text(text, now)]
        told = max((end for end in ends if end > 0), default=told)
    if not told and banned:
        told = BANNED if status == 418 else TOO_FREQUENT
    return Wait(None if told is None else min(told, LONGEST), banned)


def _retry_after(value: Any, now: float) -> float | None:
    """The seconds until the time in a Retry-After header, which is in seconds or a date; None for another value."""
    seconds = _number(value)
    if seconds is None:
        date = _date(value)
        seconds = math.nan if date is None else date - now
    elif seconds > _EARLIEST and abs(left := _epoch(seconds) - now) <= LONGEST:
        seconds = left
    return min(max(0.0, seconds), LONGEST) if math.isfinite(seconds) else None


def _date(value: Any) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _in_headers(headers: Mapping[str, str], now: float) -> list[float]:
    left = [number / 1000 for name in _MILLISECONDS_LEFT if (number := _number(headers.get(name))) is not None]
    resets = [number for name in _RESETS if (number := _number(headers.get(name))) is not None]
    return left + [_epoch(number) - now if number > _EARLIEST else number for number in resets]


def _in_text(text: str, now: float) -> list[float]:
    """Seconds until each time in a text: in an answer about limits, a future time can only be the end of the ban."""
    until = [_epoch(float(end)) - now for end in _UNTIL.findall(text)]
    ends = [_epoch(float(time)) - now for time in _TIME.findall(text)]
    for day, clock, zone in _DATE.findall(text):
        try:
            ends.append(datetime.fromisoformat(f"{day}T{clock}{zone.upper() or 'Z'}").timestamp() - now)
        except ValueError:  # the date does not exist
            continue
    ends += [date - now for found in _HTTP_DATE.findall(text) if (date := _date(found)) is not None]
    ends = until + [end for end in ends if end <= LONGEST]
    ends += [sum(map(_seconds, _PIECE.findall(length))) for length in _FOR.findall(text)]
    for milliseconds, found in _FIELD.findall(text):
        number = float(found)
        ends.append(number / 1000 if milliseconds or number > _MOST_SECONDS else number)
    return ends


def _seconds(piece: tuple[str, str]) -> float:
    """The seconds of a duration such as "5 minutes"."""
    number, unit = piece[0].replace(",", ""), piece[1].lower()
    return (float(number) if number[0].isdigit() else 1.0) * _UNITS.get(unit, _UNITS.get(unit[:3], 0.0))


def _epoch(number: float) -> float:
    """Unix seconds of a time that may be in milliseconds, microseconds or nanoseconds."""
    return next((number / unit for least, unit in _EPOCHS if number > least), number)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


_quiet_until: dict[Hashable, float] = {}  # monotonic seconds; shared by all feeds of the process


class Quiet:
    """Knows how long no requests or dials may be sent to a venue. ``key`` tells apart what the venue counts separately,
    such as the proxy. A ban stops requests and dials; another wait stops both only if they go to the same host.
    """

    def __init__(self, rest_url: str | None, ws_url: str | None, *key: Hashable) -> None:
        self._key = (rest_url, ws_url, *key)
        self._one_host = rest_url is not None and ws_url is not None and _host(rest_url) == _host(ws_url)

    def left(self, *, dial: bool) -> float:
        """Seconds until the next request, or the next ``dial``, may be sent; 0.0 if it may be sent now."""
        return max(0.0, _quiet_until.get((self._key, dial), -math.inf) - time.monotonic())

    def note(self, wait: Wait, *, dial: bool) -> None:
        """Call this when an answer to a request, or to a ``dial``, asked to wait."""
        if not wait.seconds:
            return
        now = time.monotonic()
        for gone in [key for key, until in _quiet_until.items() if until <= now]:
            del _quiet_until[gone]
        for kind in {dial, not dial} if wait.banned or self._one_host else {dial}:
            key = self._key, kind
            _quiet_until[key] = max(_quiet_until.get(key, now), now + wait.seconds)


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()
