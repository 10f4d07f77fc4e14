"""What proves MEXC's order books: each message has the first and last version of its changes.

Source: "Diff. depth stream" of its documentation, whose messages are protobuf, and "depth" of the futures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind

_SYMBOL, _DEPTHS = 3, 313  # field numbers of PushDataV3ApiWrapper
_FROM, _TO = 4, 5  # field numbers of PublicAggreDepthsV3Api


def numbers(frame: Any) -> Iterable[Numbers]:
    """The numbers of spot's messages, which are bytes, and of the futures' "push.depth"."""
    if isinstance(frame, bytes):
        message = dict(fields(frame))
        if _DEPTHS in message:
            book = dict(fields(message[_DEPTHS]))
            yield Numbers(message[_SYMBOL].decode(), int(book[_TO]), first=int(book[_FROM]))
    elif isinstance(frame, dict) and frame.get("channel") == "push.depth":
        book = frame["data"]
        yield Numbers(frame["symbol"], int(book["version"]), first=int(book.get("begin", book["version"])))


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and content of each field of a protobuf message that has a length: texts and messages."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 2:
            length, at = _varint(message, at)
            yield key >> 3, message[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        else:
            at += {1: 8, 5: 4}[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def span(update: Mapping[str, Any]) -> tuple[int, int]:
    """The first and the last version in an update.

    ccxt compares only the first version with the snapshot's, and leaves out an update that begins before the snapshot.
    """
    if "toVersion" in update:
        return int(update["fromVersion"]), int(update["toVersion"])
    return int(update.get("begin", update["version"])), int(update["version"])


RULES = BookRules(
    ProofKind.SEQUENCE, lambda: NumberedFrames(numbers, joins_late=True), nonce=True, span=span, fetched=100
)
