"""The readers in the order of the table; a reader with ``needs`` gets a virtual environment of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reader:
    """``client`` is a module of ``clients``, ``options`` are passed to it, ``needs`` are packages for pip to install.

    ``python`` is the oldest Python that runs the reader; if ``usual`` is False, the reader is compared only on request.
    """

    name: str
    label: str
    client: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    venues: tuple[str, ...] = ("binance",)
    python: tuple[int, int] = (3, 11)
    usual: bool = True


BOTH = ("binance", "bybit")
UNICORN = "unicorn-binance-websocket-api==2.16.1"
PICOWS = "picows==2.3.1"
UVLOOP = "uvloop==0.23.0"


def _ours(name: str, label: str, client: str = "market_feed", usual: bool = True, **options: Any) -> Reader:
    """A reader of this project; ``options`` are options of an exchange in settings.yaml."""
    return Reader(name, label, client, {"options": {"market_cache": False, **options}}, venues=BOTH, usual=usual)


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        _ours("feed", "**Market Feed**, plain install", transport="aiohttp"),
        _ours("fast", "**Market Feed** with `[fast]`", transport="picows"),
        _ours("uvloop", "Market Feed, plain install, on uvloop", "market_feed_uvloop", False, transport="aiohttp"),
        _ours("fast-uvloop", "Market Feed with `[fast]`, on uvloop", "market_feed_uvloop", False, transport="picows"),
        _ours("hotpath-off", "Market Feed, `hotpath: false`", usual=False, transport="aiohttp", hotpath=False),
        Reader("ccxt", "ccxt.pro loops", "ccxt_loops", venues=BOTH),
        Reader("cryptofeed", "cryptofeed 3.0.1", "cryptofeed", needs=("cryptofeed==3.0.1", UVLOOP), python=(3, 13)),
        Reader("cryptofeed-2", "cryptofeed 2.4.1", "cryptofeed", needs=("cryptofeed==2.4.1", UVLOOP), usual=False),
        Reader("unicorn", "unicorn 2.16.1 (raw dicts)", "unicorn", needs=(UNICORN,), usual=False),
        Reader(
            "unicorn-picows",
            "unicorn 2.16.1 over picows (raw dicts)",
            "unicorn",
            {"websocket_library": "picows"},
            needs=(UNICORN, PICOWS),
        ),
        Reader("floor-aiohttp", "floor: aiohttp + orjson + dataclass", "floor_aiohttp", usual=False),
        Reader("floor-picows", "floor: picows + msgspec", "floor_picows"),
        Reader("floor-same-job", "floor: the same job over picows + msgspec", "floor_same_job"),
    )
}
