"""What settings.yaml may have, and the defaults: coins, quotes, exchanges, waits, silence, breaker, backfill, channels.

The dataclasses are the schema: each field's annotation says which values are allowed. It says so in code (msgspec
checks type and bounds, a ``read`` function checks the rest) and in words (``description``, which ends the line about a
wrong value).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from msgspec import Meta

from exchanges.foreign_text import HIDDEN, address_shown, addresses_shown, values_shown
from exchanges.names import canonical, exchange_names, nearest
from exchanges.venue import NO_PROXY, BusAddress
from feed.channels import OF_VENUES
from feed.errors import SettingsError
from feed.events import CoinConfig

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

PACKED = "PyInstaller: --collect-data feed --collect-submodules ccxt.pro; Nuitka: --include-package-data=feed"
BUS_ENVIRONMENT = "MARKET_FEED_BUS"
"""The environment variable that names the bus."""

# --- Allowed values. A `read` function returns the value for the settings, or raises ValueError with what is allowed


def _exchange(name: str) -> str:
    if name in exchange_names():
        return canonical(name)
    near = nearest(name, exchange_names())
    raise ValueError(
        f"a ccxt.pro exchange, nearest: {', '.join(near)}" if near else "a name from `market-feed exchanges`"
    )


def _url(*schemes: str, login: bool = False) -> Callable[[str], str]:
    """Return a reader of addresses that name only a scheme, a host and perhaps a port (and with ``login`` a user)."""

    def read(text: str) -> str:
        try:
            url = urlsplit(text)
            known = url.scheme in schemes and url.hostname and url.port != 0
        except ValueError:  # not a valid host or port
            known = False
        more = not known or url.path.strip("/") or url.query or url.fragment or ("@" in url.netloc and not login)
        if more or re.search(r"[^\x21-\x7e]", text):
            raise ValueError
        return text.rstrip("/")

    return read


_proxy_url = _url("http", "https", "socks4", "socks4a", "socks5", "socks5h", login=True)


def _proxy(text: str) -> str:
    return NO_PROXY if text.lower() in (NO_PROXY, "no", "off", "false") else _proxy_url(text)


_bus_url = _url("nats", "tls", login=True)


def _bus(text: str) -> str:
    return ",".join(_bus_url(each.strip()) for each in text.split(","))


def _bus_shown(value: Any) -> Any:
    return ",".join(map(address_shown, value.split(","))) if isinstance(value, str) else addresses_shown(value)


def _secret_shown(value: Any) -> Any:
    return value if value is None or value == "" else HIDDEN


def _proxy_as_text(value: Any) -> Any:
    """Return "none" for False, because YAML reads no, off and false as False."""
    return NO_PROXY if value is False else value


def _speed(text: str) -> str:
    if text != "max" and not (re.fullmatch(r"[\d.eE+-]{1,20}", text, re.A) and 0 < float(text) < 1e9):
        raise ValueError
    return text


def _as_text(value: Any) -> Any:
    """Return a number or a time as text: the file has it where text is expected."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


# what cannot be printed: control characters, marks of direction, halves of a character (YAML's "\ud83d" is one)
_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSEEN = rf"{_UNPRINTABLE}\xad\u180e\u200b-\u200f\u2060-\u206f\ufeff\U000e0000-\U000e007f"  # invisible
_WORD = rf"\A[^\s/:,{_UNSEEN}]{{1,30}}\Z"
_MARKET = rf"\A[^\s/:{_UNSEEN}]{{1,30}}/[^\s/:{_UNSEEN}]{{1,30}}(:[^\s/:{_UNSEEN}]{{1,30}})?\Z"
MAX_DEPTH = 1000  # the most levels of each side of an order book
UPPER: dict[str, Any] = {"read": str.upper}  # a field's reader, for symbols of coins and currencies

Seconds = Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds above 0, at most 86400")]
SecondsOrZero = Annotated[float, Meta(ge=0, le=86_400, description="a number of seconds from 0 to 86400")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Ratio = Annotated[float, Meta(gt=1, le=1000, description="a number above 1, at most 1000")]
Count = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
Tier = Annotated[int, Meta(ge=1, le=3, description="1, 2 or 3")]
Switch = Annotated[bool, Meta(description="true or false")]
Title = Annotated[str, Meta(pattern=rf"\A[^{_UNPRINTABLE}]{{0,100}}\Z", description="text of at most 100 characters")]
Symbol = Annotated[str, Meta(pattern=_WORD, description="a coin such as BTC, without the quote currency", extra=UPPER)]
Currency = Annotated[str, Meta(pattern=_WORD, description="a currency such as USDT", extra=UPPER)]
Market = Annotated[str, Meta(pattern=_MARKET, description="a market symbol of ccxt, BASE/QUOTE or BASE/QUOTE:SETTLE")]
Exchange = Annotated[str, Meta(description="the name of an exchange, text", extra={"read": _exchange})]
_address: dict[str, Any] = {"show": addresses_shown}  # an address in an error message is shown without its login
RestUrl = Annotated[
    str, Meta(description="http://host:port or https://host:port", extra={"read": _url("http", "https"), **_address})
]
WsUrl = Annotated[
    str, Meta(description="ws://host:port or wss://host:port", extra={"read": _url("ws", "wss"), **_address})
]
ProxyUrl = Annotated[
    str,
    Meta(
        description="http://host:port, https://host:port, socks5://host:port, or none",
        extra={"read": _proxy, "written": _proxy_as_text, **_address},
    ),
]
BusUrl = Annotated[
    str,
    Meta(
        description="nats://host:port or tls://host:port, several of one cluster with commas between them",
        extra={"read": _bus, "show": _bus_shown},
    ),
]
Secret = Annotated[str, Meta(max_length=4096, description="text", extra={"show": _secret_shown})]
File = Annotated[str, Meta(min_length=1, max_length=4096, description="the path of a file")]
Folder = Annotated[str, Meta(min_length=1, max_length=4096, description="the folder of a recording")]
PlaySpeed = Annotated[str, Meta(description="a factor above 0, or max", extra={"read": _speed, "written": _as_text})]
Moment = Annotated[
    str, Meta(description="Unix ms, or a time such as 2026-11-28T12:00:00Z", extra={"written": _as_text})
]
MarketType = Literal["spot", "swap"]
Channel = Annotated[str, Meta(pattern=rf"\A({'|'.join(OF_VENUES)})\Z", description=f"one of {', '.join(OF_VENUES)}")]
Depth = Annotated[int, Meta(ge=1, le=MAX_DEPTH, description=f"a whole number from 1 to {MAX_DEPTH}")]
Timeframe = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]


# --- The settings


@dataclass(slots=True)
class ExchangeConfig:
    """One venue. The URLs replace scheme and host of its addresses; ``options`` are passed to ccxt as they are.

    ``proxy``: None for the environment's proxy, if there is one; ``none`` for no proxy (see
    exchanges.ccxt_adapter.transport.proxies).

    ``market_type``: a coin's perpetual swap and its spot are two markets, whose prices differ. Quantities and volumes
    are in base currency on both. If the order has venues of both types, a failover may change from one market to the
    other, and a coin that the active venue does not list may come from the other market. No event mixes the two: its
    ``market`` says which market it is from, and a change is reported as ``market_changed``.
    """

    name: Exchange
    market_type: MarketType = "spot"
    rest_url: RestUrl | None = None
    ws_url: WsUrl | None = None
    proxy: ProxyUrl | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Like the repr of a dataclass, without a login and without the values of options such as apiKey."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["proxy"] = address_shown(self.proxy) if isinstance(self.proxy, str) else self.proxy
        return f"ExchangeConfig({', '.join(f'{name}={value!r}' for name, value in values_shown(shown).items())})"


@dataclass(slots=True)
class Bus:
    """The bus from which the events of the exchanges are read, in place of the exchanges themselves; ``bus: URL`` is
    short for it.

    ``url`` names the servers of one NATS cluster, ``creds`` a file with a user's JWT and key, ``ca`` a file with the
    authority of the servers' certificates. A login that is not given here is taken from the environment:
    MARKET_FEED_BUS_USER, _PASSWORD, _TOKEN, _CREDS and _CA.
    """

    url: BusUrl
    user: Secret | None = None
    password: Secret | None = None
    token: Secret | None = None
    creds: File | None = None
    ca: File | None = None

    def __repr__(self) -> str:
        """Like the repr of a dataclass, without secrets."""
        return f"Bus({_bus_shown(self.url)!r})"

    @property
    def address(self) -> BusAddress:
        """The address and login with which the bus is dialled."""
        login = {
            name: getattr(self, name) or os.environ.get(f"{BUS_ENVIRONMENT}_{name.upper()}", "")
            for name in ("user", "password", "token", "creds", "ca")
        }
        return BusAddress(tuple(self.url.split(",")), **login)


@dataclass(slots=True)
class RecordingConfig:
    """What is played in place of the exchanges; ``recording: DIR`` is short for it.

    ``folder``: a recording, or several that are merged by the time of receipt. ``speed``: 10 for ten times as fast as
    it was recorded, ``max`` for as fast as the consumers take it. ``start`` and ``end``: Unix ms or ISO 8601.
    """

    folder: Annotated[
        list[Folder], Meta(min_length=1, description="the folder of a recording, or a list of them", extra={"one": 1})
    ]
    speed: PlaySpeed = "1"
    start: Moment | None = None
    end: Moment | None = None


@dataclass(slots=True)
class Connection:
    """When to dial again, and when to try another venue.

    Values are in seconds, except the attempts and ``backoff_jitter``, which is a share.

    ``connect_timeout``: how long a connection may take until its first data, and also how long each REST request may
    take.

    ``max_price_ratio``: the greatest ratio of a coin's first price on another venue or market to its last price, or of
    the last to the first. An older last price allows more: the ratio to the power of 1 + its age / 600 s.
    """

    connect_timeout: Seconds = 10.0
    backoff_initial: Seconds = 1.0
    backoff_max: Seconds = 30.0
    backoff_jitter: Share = 0.2
    stable_after: SecondsOrZero = 30.0
    attempts_before_failover: Count = 3
    failback_after: Seconds = 300.0
    max_price_ratio: Ratio = 1.5


@dataclass(slots=True)
class Staleness:
    """After how many seconds without data the feed or a coin counts as stale, and the connection as dead.

    ``max_lag``: by how many seconds the data may be behind before the feed counts as lagging.
    """

    feed_stale_after: Seconds = 5.0
    coin_stale_after: Seconds = 60.0
    reconnect_after: Seconds = 10.0
    max_lag: Seconds = 5.0


@dataclass(slots=True)
class CircuitBreaker:
    """``failures`` within ``window`` seconds open the breaker for ``cooldown`` seconds."""

    failures: Count = 5
    window: Seconds = 60.0
    cooldown: Seconds = 60.0


@dataclass(slots=True)
class Backfill:
    """Whether trades missed during an outage are fetched, and up to how many seconds back."""

    enabled: Switch = True
    max_gap: Seconds = 300.0


def packaged_settings() -> Path | Traversable:
    """Return the file of the defaults: inside the wheel, or in a checkout the repository's own settings.yaml."""
    here = Path(__file__).parents[1] / "settings.yaml"
    for file in (here, here.parent.parent / here.name):
        if file.is_file():
            return file
    from importlib.resources import files  # inside a zip file the package's settings have no path

    found = files("feed") / here.name
    if not found.is_file():
        raise SettingsError([f"feed/{here.name} is missing in this program: pack it too ({PACKED})"])
    return found


@cache
def _packaged() -> dict[str, list[dict[str, Any]]]:
    loaded: dict[str, list[dict[str, Any]]] = yaml.safe_load(packaged_settings().read_text("utf-8"))
    return loaded


@dataclass(slots=True)
class Settings:
    """All settings of a feed; ``Settings()`` holds the packaged defaults."""

    coins: Annotated[list[CoinConfig], Meta(min_length=1, description="a list of coins, at least one")] = field(
        default_factory=lambda: [CoinConfig(**coin) for coin in _packaged()["coins"]]
    )
    quote: Annotated[
        list[Currency], Meta(min_length=1, description="a currency, or a list of them", extra={"one": 1})
    ] = field(default_factory=lambda: ["USDT", "USDC", "USD"])
    channels: Annotated[list[Channel], Meta(min_length=1, description=f"a list of {', '.join(OF_VENUES)}")] = field(
        default_factory=lambda: ["trades", "ticker", "candles"]
    )
    candle_timeframe: Timeframe = "1m"
    book_depth: Depth = 20
    exchanges: Annotated[list[ExchangeConfig], Meta(min_length=1, description="a list of exchanges, at least one")] = (
        field(default_factory=lambda: [ExchangeConfig(**exchange) for exchange in _packaged()["exchanges"]])
    )
    connection: Connection = field(default_factory=Connection)
    staleness: Staleness = field(default_factory=Staleness)
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    backfill: Backfill = field(default_factory=Backfill)
    bus: Bus | None = None
    recording: RecordingConfig | None = None
