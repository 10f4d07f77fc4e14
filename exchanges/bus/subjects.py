"""Names on the bus: subjects, streams and keys. docs/bus.md lists them for readers in any language. Pure."""

from __future__ import annotations

import re

CANDLES = "candles-"
CHANNELS = {"trades": "trade", "ticker": "ticker", "quotes": "quote", "books": "book"}
"""A subject's channel -> the ``type`` of its payloads; candles have their timeframe in the name: ``candles-1m``."""
GAPS = "gaps"
"""The channel of reports that trades are missing on the bus, because the collector did not get them."""
REGISTER = "market-collectors"
"""The bucket in which collectors say who publishes what."""
REGISTER_STREAM = f"KV_{REGISTER}"
CLOSED_STREAM = "MARKET-CANDLES"
"""The stream of closed candles of all venues."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_ESCAPED = re.compile(r"%([0-9A-F]{2})")


def token(text: str) -> str:
    """``text`` as one part of a subject: bytes (UTF-8) that NATS or file names do not allow are written %XX.

    ASCII letters and digits, ``_`` and ``-`` are not changed.
    """
    return "".join(
        char if _PLAIN.fullmatch(char) else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
        for char in text
    )


def text(token: str) -> str:
    """The text from which :func:`token` was made."""
    if "%" not in token:
        return token
    raw = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), token)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def channel_of(channel: str, timeframe: str = "") -> str:
    """The channel's part of a subject: ``candles`` with ``1m`` give ``candles-1m``."""
    return f"{CANDLES}{timeframe}" if channel == "candles" else channel


class MarketSubjects:
    """The names that belong to one exchange and market type (spot or swap)."""

    def __init__(self, exchange: str, market_type: str) -> None:
        self.exchange, self.market_type = exchange, market_type
        name = f"{token(exchange)}.{market_type}"
        self._root = f"market.{name}"
        self.stream = f"MARKET-{token(exchange)}-{market_type}"
        """The stream that keeps the events of this exchange and market type."""
        self.kept = f"{self._root}.*.*"
        """Every subject of that stream."""
        self.status = f"{self._root}.status"
        """The subject of heartbeats and status events of the collectors; no stream keeps them."""
        self.closed = f"candles.{name}"
        self.asked = f"collector.{name}"
        self._register = f"$KV.{REGISTER}"
        self._name = name

    def events(self, channel: str, coin: str) -> str:
        """The subject of a channel (a result of ``channel_of``) and coin; ``*`` stands for any coin."""
        return f"{self._root}.{channel}.{coin if coin == '*' else token(coin)}"

    def publisher(self, shard: str) -> str:
        """The subject on which a collector announces that it publishes a shard; ``*`` for any shard."""
        return f"{self._root}.publisher.{shard}"

    def closed_candles(self, timeframe: str, coin: str) -> str:
        return f"{self.closed}.{timeframe}.{coin if coin == '*' else token(coin)}"

    def history_of(self, coin: str) -> str:
        """The subject on which readers request past candles from a collector."""
        return f"{self.asked}.candles.{coin if coin == '*' else token(coin)}"

    def alive(self, collector: str) -> str:
        """The subject on which a collector is asked whether it is still connected to the bus."""
        return f"{self.asked}.alive.{token(collector)}"

    def lease(self, shard: str) -> str:
        """The subject of the key that a shard's publisher renews while it publishes."""
        return f"{self._register}.lease.{self._name}.{shard}"

    def coins(self, shard: str) -> str:
        """The subject of the key that has a shard's coins and channels."""
        return f"{self._register}.coins.{self._name}.{shard}"


def shard_name(index: int, count: int) -> str:
    """A shard as part of a subject: 1 of 4 is ``1-4``."""
    return f"{index}-{count}"
