"""The markets of a simulated venue: the twenty default coins at plausible prices, then invented coins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from random import Random

from exchanges.simulator.errors import SimulatorError

# coin: (price, 24 h turnover in millions), in quote currency
DEFAULT_COINS: dict[str, tuple[float, float]] = {
    "BTC": (60_000.0, 1_800.0),
    "ETH": (2_600.0, 1_100.0),
    "SOL": (150.0, 420.0),
    "BNB": (520.0, 160.0),
    "XRP": (0.58, 210.0),
    "DOGE": (0.105, 130.0),
    "ADA": (0.35, 60.0),
    "AVAX": (22.5, 45.0),
    "LINK": (10.4, 38.0),
    "DOT": (4.6, 25.0),
    "POL": (0.41, 22.0),
    "UNI": (6.1, 20.0),
    "ATOM": (4.9, 12.0),
    "LTC": (62.0, 34.0),
    "ETC": (18.6, 14.0),
    "NEAR": (4.0, 28.0),
    "APT": (6.3, 24.0),
    "ARB": (0.55, 26.0),
    "OP": (1.4, 23.0),
    "INJ": (18.2, 15.0),
}
USDC_COINS = ("BTC", "ETH", "SOL", "BNB", "XRP")


@dataclass(frozen=True, slots=True)
class Listing:
    """One market as listed; ``digits`` and ``lot_digits`` are the decimals of a price and of a quantity."""

    coin: str
    quote: str
    price: float
    turnover: float  # in 24 h, in quote currency
    weight: float  # the market's share of the venue's trades, relative to other markets
    digits: int
    lot_digits: int

    @property
    def id(self) -> str:
        return self.coin + self.quote


def price_digits(price: float) -> int:
    """How many decimals venues give a price of this size: 60000.01, 0.5812, 0.10512."""
    return min(8, max(2, 4 - math.floor(math.log10(price))))


def quantity_digits(price: float) -> int:
    """How many decimals a quantity has, so that its smallest step is worth 0.1 to 1 in quote currency."""
    return min(5, max(0, math.floor(math.log10(price)) + 1))


def listing(coin: str, quote: str, price: float, turnover: float, weight: float) -> Listing:
    return Listing(coin, quote, price, turnover, weight, price_digits(price), quantity_digits(price))


def invented_names() -> Iterator[str]:
    """Endless names that no real coin has: BABAX, BABEX, ..."""
    for letters in product("BDFGKLMNPRSTVZ", "AEIOU", "BDFGKLMNPRSTVZ", "AEIOU"):
        yield "".join(letters) + "X"
    for number in range(1, 1 << 30):
        yield f"COIN{number}X"


def _invented(coin: str, quote: str = "USDT") -> Listing:
    draw = Random(f"listing {coin}")
    return listing(coin, quote, 10 ** draw.uniform(-2.5, 2), 10 ** draw.uniform(5, 7), 0.05)


def _known(coin: str, quote: str) -> Listing:
    price, millions = DEFAULT_COINS[coin]
    rank = list(DEFAULT_COINS).index(coin)
    share = 1.0 if quote == "USDT" else 0.1
    return listing(coin, quote, price, millions * 1e6 * share, share * (1 + 3 / (1 + rank)))


def list_markets(count: int, coins: Iterable[str] | None = None) -> list[Listing]:
    """The default coins against USDT, the first five against USDC, and invented coins up to ``count`` in all.

    ``coins`` names exactly the markets that are listed instead: "BTC" stands for BTC/USDT, "BTC/USDC" for itself.
    """
    if coins is not None:
        wanted = list(dict.fromkeys(_pair(coin) for coin in coins))
        if not wanted:
            raise SimulatorError("coins is empty: name at least one coin to list, or None for the default coins")
        return [_known(c, q) if c in DEFAULT_COINS else _invented(c, q) for c, q in wanted]
    listed = [_known(coin, "USDT") for coin in DEFAULT_COINS]
    room = max(0, count - len(listed))
    listed += [_known(coin, "USDC") for coin in USDC_COINS[:room]]
    room = max(0, count - len(listed))
    return listed + [_invented(coin) for coin in islice(invented_names(), room)]


def _pair(text: str) -> tuple[str, str]:
    coin, _, quote = text.upper().partition("/")
    return coin, quote or "USDT"
