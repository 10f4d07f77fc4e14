"""Events as JSON and back: what ``market-feed watch --json`` prints, the server sends and the bus carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent

KINDS: Mapping[str, type] = {
    "trade": TradeEvent,
    "ticker": Ticker,
    "candle": Candle,
    "quote": Quote,
    "book": OrderBook,
}
"""The ``type`` of an event -> its class. ``price`` and ``status`` are written too, and never read."""

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decoders: Mapping[str, msgspec.json.Decoder[Any]] = {name: msgspec.json.Decoder(kind) for name, kind in KINDS.items()}
_decode_any = msgspec.json.Decoder().decode


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON, even if it contains values or texts that JSON does not allow."""
    try:
        return _encode(value)
    except (TypeError, ValueError):  # keys that are no strings, half a surrogate pair in a venue's text
        return _encode(_plain(value))


def _plain(value: Any) -> Any:
    """A copy for JSON: half a surrogate pair becomes an escape, and other values become text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__slots__"):
        return {name: _plain(getattr(value, name)) for name in value.__slots__}
    return str(value).encode("utf-8", "backslashreplace").decode()


def event(kind: str, fields: Any) -> bytes:
    """Return an event, given as an object or as a mapping, as a JSON object that begins with its ``type``."""
    return b'{"type":"%s",%s' % (kind.encode(), encode(fields)[1:])


def writer(kind: str) -> Callable[[Any], bytes]:
    """Return a faster function that does the same as ``event`` for events of one type."""
    opening, encode_plain = f'{{"type":"{kind}",'.encode(), _encode

    def write(event: Any) -> bytes:
        try:
            return opening + encode_plain(event)[1:]
        except (TypeError, ValueError):  # as in ``encode``
            return opening + encode(event)[1:]

    return write


def status(event: str, details: Mapping[str, Any]) -> bytes:
    """Return a status event as JSON; its details may have any values."""
    return encode({"type": "status", "event": event, "details": details})


def read(kind: str, payload: bytes) -> Any:
    """Return the event in a payload. Raises ValueError for text that is not JSON, or a missing or wrong field."""
    return _decoders[kind].decode(payload)


def read_object(payload: bytes) -> dict[str, Any]:
    """Return the JSON object in a payload. Raises ValueError for anything else."""
    found = _decode_any(payload)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found
