"""Tracks which collector publishes each shard; decides when a silent collector is lost and its books are distrusted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from exchanges.bus.collectors import ALIVE
from exchanges.bus.payloads import read_object
from exchanges.errors import Disconnected
from exchanges.events import Listener
from exchanges.foreign_text import Cleaner

UNPROVEN = 1.5  # a book is not proven any more after this many seconds without a heartbeat of its collector


@dataclass(eq=False, repr=False)
class Publishers:
    """The publishers of one exchange's shards; ``now`` is monotonic seconds.

    ``coins_of`` returns those coins of a shard that are read. ``on_source`` is called as ``Listener.on_source`` is.
    ``books``: order books are read too.
    """

    exchange: str
    clean: Cleaner
    listener: Listener
    coins_of: Callable[[str], Collection[str]]
    on_source: Callable[[str, str, Collection[str]], None]
    _: KW_ONLY
    books: bool

    def __post_init__(self) -> None:
        self._collector: dict[str, str] = {}  # shard -> the collector that publishes it
        self._heard: dict[str, float] = {}  # shard -> when its publisher was last heard
        self._distrusted: set[str] = set()  # shards whose publisher was not heard lately

    @property
    def names(self) -> str:
        """The collectors that publish, as a text."""
        return ", ".join(dict.fromkeys(self._collector.values()))

    def expect(self, shards: Iterable[str], now: float) -> None:
        """Expect to hear the publishers of these shards from now on."""
        for shard in shards:
            self._heard.setdefault(shard, now)

    def on_publisher(self, shard: str, data: bytes, *, news: bool) -> bool:
        """Called when a collector has begun to publish a shard; False if nothing has changed for the reader.

        ``news``: the collector began after the reader was last connected.
        """
        details = _details(data)
        collector = str(details.get("collector", ""))
        if self._collector.get(shard) == collector and not details.get("missed"):
            return False
        self._collector[shard] = collector
        if news:
            self._distrust_books(shard, "another collector publishes it now")
        reason = str(details.get("reason", "")) if news else "it publishes"
        coins = self.coins_of(shard)
        missed = [coin for coin in details.get("missed", ()) if coin in coins] if news else []
        self.on_source(self.clean(collector), self.clean(reason), missed)
        return True

    def on_gap(self, coin: str, data: bytes) -> None:
        """Note a collector's report that trades are missing before the coin's next trade."""
        collector = str(_details(data).get("collector", ""))
        reason = "it did not get some trades from the exchange"
        self.on_source(self.clean(collector), reason, [coin])

    def on_status(self, data: bytes, now: float) -> None:
        """Note a collector's heartbeat."""
        details = _details(data)
        shard = details.get("shard")
        if details.get("publishes") and isinstance(shard, str) and shard in self._heard:
            self._heard[shard] = now
            self._distrusted.discard(shard)

    def check(self, now: float) -> None:
        """Distrust the books of a shard whose publisher is silent. Raises Disconnected when it is silent for long."""
        for shard, heard in self._heard.items():
            if now - heard > UNPROVEN and shard not in self._distrusted:
                self._distrusted.add(shard)
                self._distrust_books(shard, f"its collector has not been heard for {now - heard:.1f} s")
            if now - heard > ALIVE:
                collector = self._collector.get(shard) or f"of shard {shard.replace('-', '/')}"
                raise Disconnected(self.exchange, f"its collector {collector} has not been heard for {ALIVE:g} s")

    def _distrust_books(self, shard: str, reason: str) -> None:
        """Distrust the books of a shard, which may lack changes: each is proven again by its next state."""
        for coin in self.coins_of(shard) if self.books else ():
            self.listener.on_book_unsynced(coin, reason)


def _details(data: bytes) -> Mapping[str, Any]:
    try:
        details = read_object(data).get("details")
    except ValueError:
        return {}
    return details if isinstance(details, dict) else {}
