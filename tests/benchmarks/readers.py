"""What is compared, in the order of the table. A reader with ``needs`` gets a virtual environment of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reader:
    """``client`` is a module of ``clients``, ``options`` are what it is told, ``needs`` what pip installs for it."""

    name: str
    label: str
    client: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    venues: tuple[str, ...] = ("binance",)


BOTH = ("binance", "bybit")
UNICORN = "unicorn-binance-websocket-api==2.16.1"
PICOWS = "picows==2.3.1"


def _ours(name: str, label: str, client: str = "market_feed", **options: Any) -> Reader:
    """This project; ``options`` as below ``exchanges`` in settings.yaml."""
    return Reader(name, label, client, {"options": {"market_cache": False, **options}}, venues=BOTH)


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        _ours("feed", "**Market Feed**, plain install", transport="aiohttp"),
        _ours("fast", "**Market Feed** with `[fast]`", transport="picows"),
        _ours("uvloop", "Market Feed, plain install, on uvloop", "market_feed_uvloop", transport="aiohttp"),
        _ours("fast-uvloop", "Market Feed with `[fast]`, on uvloop", "market_feed_uvloop", transport="picows"),
        _ours("hotpath-off", "Market Feed, `hotpath: false`", transport="aiohttp", hotpath=False),
        Reader("ccxt", "ccxt.pro loops", "ccxt_loops", venues=BOTH),
        Reader("cryptofeed", "cryptofeed 2.4.1", "cryptofeed", needs=("cryptofeed==2.4.1", "uvloop==0.23.0")),
        Reader("unicorn", "unicorn 2.16.1 (raw dicts)", "unicorn", needs=(UNICORN,)),
        Reader(
            "unicorn-picows",
            "unicorn 2.16.1 over picows (raw dicts)",
            "unicorn",
            {"websocket_library": "picows"},
            needs=(UNICORN, PICOWS),
        ),
        Reader("floor-aiohttp", "floor: aiohttp + orjson + dataclass", "floor_aiohttp"),
        Reader("floor-picows", "floor: picows + msgspec", "floor_picows"),
        Reader("floor-same-job", "floor: the same job over picows + msgspec", "floor_same_job"),
    )
}
