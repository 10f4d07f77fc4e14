"""The events of a market, independent of a venue; each venue's script writes them as the venue's frames."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import time_ns
from typing import Final

COINS = ("BTC", "ETH", "SOL")
LISTED = (
    *COINS, "BNB", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "POL", "UNI", "ATOM", "LTC", "ETC", "NEAR", "APT",
    "ARB", "OP", "INJ",
)  # fmt: skip
CHANNELS: Final = ("trades", "ticker", "candles")
MINUTE = 60_000
PRICES = dict.fromkeys(LISTED, 10.0) | {"BTC": 64_000.0, "ETH": 3_200.0, "SOL": 150.0}
REST_FACTOR = 0.9  # factor of the prices over REST, by which tests recognize them
OLD_FACTOR = 0.5  # factor of the prices of old trades in a snapshot


@dataclass(frozen=True, slots=True)
class Deal:
    """One trade. ``number`` counts the venue's trades; ``sold``: the taker sold; ``timestamp`` in ms."""

    coin: str
    number: int
    price: float
    quantity: float
    sold: bool
    timestamp: int


@dataclass(frozen=True, slots=True)
class Day:
    """The 24 h statistics of a market: ``volume`` in base currency, all of it traded at ``last``."""

    coin: str
    last: float
    opened: float
    volume: float
    timestamp: int

    @property
    def turnover(self) -> float:
        return self.volume * self.last

    @property
    def change(self) -> float:
        return (self.last / self.opened - 1) * 100

    @property
    def high(self) -> float:
        return max(self.last, self.opened) * 1.01

    @property
    def low(self) -> float:
        return min(self.last, self.opened) * 0.99

    @property
    def bid(self) -> float:
        return self.last * 0.9999

    @property
    def ask(self) -> float:
        return self.last * 1.0001


@dataclass(frozen=True, slots=True)
class VenueCandle:
    """One minute of a market; ``timestamp`` is its open time in ms."""

    coin: str
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool = False


def iso(timestamp: int, digits: int = 6) -> str:
    """A time in ms as text in the form of many venues, with 3 to 9 digits after the seconds."""
    text = datetime.fromtimestamp(timestamp // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{timestamp % 1000:03}{'0' * (digits - 3)}Z"


def ms(text: str) -> int:
    """The time in ms of a text made by ``iso``."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def rest_day(coin: str, timestamp: int) -> Day:
    """The 24 h statistics in a venue's REST answer."""
    last = PRICES[coin] * REST_FACTOR
    return Day(coin, last, last / 1.25, 1_000.0, timestamp)


def rest_candles(coin: str, since: int | None) -> list[VenueCandle]:
    """The candles in a REST answer, oldest first: three from ``since`` on, or the newest three."""
    now = time_ns() // 1_000_000
    first = now - now % MINUTE - 2 * MINUTE if since is None else since
    return [rest_candle(coin, first + number * MINUTE) for number in range(3)]


def rest_candle(coin: str, timestamp: int) -> VenueCandle:
    """The candle in a REST answer that opened at ``timestamp``."""
    price = PRICES[coin] * REST_FACTOR
    return VenueCandle(coin, timestamp, price, price * 1.02, price * 0.98, price * 1.01, 7.5, closed=True)
