"""Reads clients' messages and writes events for the stream. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from feed.channels import CHANNELS, STATUS

EVENT_TYPES: Mapping[str, str] = {  # channel of the stream -> the ``type`` of its events
    **{channel.name: channel.json_type for channel in CHANNELS.values()},
    STATUS: "status",
}
POLICIES = ("drop_oldest", "latest", "error")
SHOWN = 100  # the most characters of a wrong value that an answer repeats


class RequestError(Exception):
    """A client sent a wrong request; the text says what was found and what is allowed."""


@dataclass(frozen=True)
class Selection:
    """What a client wants: channels, and coins (None: all of the feed's)."""

    channels: frozenset[str]
    coins: frozenset[str] | None


@dataclass(frozen=True)
class Subscribe:
    selection: Selection
    on_full: str


@dataclass(frozen=True)
class Resume:
    seq: int
    on_full: str


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _names(what: str, found: Any) -> list[str]:
    names = [found] if isinstance(found, str) else found
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise RequestError(f"{what}: found {_shown(found)}, allowed is a list of names")
    return names


def selection(channels: Any, coins: Any, known: Collection[str]) -> Selection:
    """Read the wanted channels and coins; ``known`` are the feed's coins. Raises RequestError."""
    wanted = _names("channels", channels)
    if unknown := [name for name in wanted if name not in EVENT_TYPES]:
        raise RequestError(f"channels: found {_shown(unknown[0])}, allowed are {', '.join(EVENT_TYPES)}")
    if coins is None:
        return Selection(frozenset(wanted), None)
    symbols = dict.fromkeys(coin.upper() for coin in _names("coins", coins))
    if missing := [*(symbols.keys() - set(known))]:
        raise RequestError(f"coins: found {_shown(missing[0])}, allowed are {', '.join(known)}")
    return Selection(frozenset(wanted), frozenset(symbols))


def policy(found: Any) -> str:
    """Read the policy for the case that the client is too slow. Raises RequestError."""
    if found not in POLICIES:
        raise RequestError(f"on_full: found {_shown(found)}, allowed are {', '.join(POLICIES)}")
    return str(found)


def request(text: str, known: Collection[str]) -> Subscribe | Resume:
    """Read a client's message. Raises RequestError."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise RequestError(f"found {_shown(text)}, allowed is a JSON object") from None
    if not isinstance(message, dict):
        raise RequestError(f"found {_shown(message)}, allowed is a JSON object")
    op = message.get("op")
    on_full = policy(message.get("on_full", POLICIES[0]))
    if op == "subscribe":
        return Subscribe(selection(message.get("channels"), message.get("coins"), known), on_full)
    if op == "resume":
        seq = message.get("seq")
        if type(seq) is not int:
            raise RequestError(f"seq: found {_shown(seq)}, allowed is the seq of the last event that you have")
        return Resume(seq, on_full)
    raise RequestError(f"op: found {_shown(op)}, allowed are subscribe, resume")


def numbered(seq: int, body: bytes) -> bytes:
    """An event's JSON with its number."""
    return b'{"seq":%d,%s' % (seq, body[1:])


def frames(events: Iterable[tuple[int, bytes]]) -> bytes:
    """The events as a server's WebSocket text frames (RFC 6455, section 5.2), which are the same for every client."""
    parts: list[bytes] = []
    for seq, body in events:
        payload = numbered(seq, body)
        size = len(payload)
        if size < 126:
            parts.append(bytes((0x81, size)))
        elif size < 1 << 16:
            parts.append(b"\x81\x7e" + size.to_bytes(2, "big"))
        else:
            parts.append(b"\x81\x7f" + size.to_bytes(8, "big"))
        parts.append(payload)
    return b"".join(parts)


def chunk(text: bytes) -> bytes:
    """A chunk of an HTTP/1.1 answer (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(text), text)


def server_sent(events: Iterable[tuple[int, bytes]]) -> bytes:
    """The events as Server-Sent Events."""
    return b"".join(b"id: %d\ndata: %s\n\n" % (seq, numbered(seq, body)) for seq, body in events)


def server_sent_chunk(events: Iterable[tuple[int, bytes]]) -> bytes:
    return chunk(server_sent(events))
