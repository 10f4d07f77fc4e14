"""Helpers that give a venue's frames to its ccxt client, and keep the resulting events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType

from exchanges import Access, Subscription
from exchanges.ccxt_adapter.stream.connection import CcxtConnection
from exchanges.ccxt_adapter.venue import CcxtVenue, open_venue
from exchanges.simulator import SimulatedVenue as Simulated
from tests.exchanges.support import Heard


class Spoken:
    """A venue's stream without a socket: frames go through the real client's own handler."""

    def __init__(self, venue: CcxtVenue, stream: CcxtConnection, url: str, heard: Heard) -> None:
        self.venue = venue
        self.stream = stream
        self.heard = heard
        self.exchange = stream.exchange
        self.client = self.exchange.client(url)

    def say(self, *frames: Any) -> None:
        for frame in frames:
            self.client.handle_message(WSMessage(WSMsgType.TEXT, json.dumps(frame), None))

    @property
    def live(self) -> list[str]:
        return [trade.trade_id for trade in self.heard.trades]

    @property
    def past(self) -> list[str]:
        return [trade.trade_id for trade in self.heard.past]


@asynccontextmanager
async def spoken_of(
    name: str,
    ids: Mapping[str, str],
    url: str = "wss://venue.example/ws",
    wanted: Iterable[str] = (),
    channels: Sequence[str] = ("trades", "ticker", "candles"),
    contract_size: float | None = None,
    coin: str = "",
) -> AsyncIterator[Spoken]:
    """The stream of the ``wanted`` markets, or of all; ``ids``: symbol -> the venue's id, for each listed market.

    With a ``contract_size`` the markets are perpetual swaps. ``coin``: the coin for which they are subscribed, "" for
    each market's own coin.
    """
    venue = open_venue(name, Access(market_type="swap" if contract_size else "spot"))
    venue._api.set_markets([_market(venue, symbol, market_id, contract_size) for symbol, market_id in ids.items()])
    markets = {coin or symbol.partition("/")[0]: symbol for symbol in wanted or ids}
    heard = Heard()
    stream = venue.connect(Subscription(markets, channels), heard, lambda: None)
    try:
        yield Spoken(venue, stream, url, heard)
    finally:
        await stream.close()
        await venue.close()


def _market(venue: CcxtVenue, symbol: str, market_id: str, contract_size: float | None = None) -> Any:
    base, quote = symbol.partition(":")[0].split("/")
    kind = {"type": "spot", "spot": True, "contract": False}
    if contract_size:
        kind = {"type": "swap", "spot": False, "swap": True, "contract": True, "linear": True, "inverse": False}
        kind |= {"contractSize": contract_size, "settle": quote, "settleId": quote}
    return venue._api.safe_market_structure(
        {
            "id": market_id, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
            "active": True, **kind,
            "precision": {"price": 0.01, "amount": 0.0001}, "priceScale": 8, "ratioScale": 8, "valueScale": 8,
        }
    )  # fmt: skip


def now_ms() -> int:
    return time.time_ns() // 1_000_000


BYBIT_WS = "wss://stream.bybit.com/v5/public/linear"


def bybit_trades(market: str, *rows: Mapping[str, Any]) -> dict[str, Any]:
    at = now_ms()
    row = {"T": at, "s": market, "S": "Buy", "v": "2000", "p": "0.00812", "L": "PlusTick", "BT": False, "RPI": False}
    data = [{**row, "i": str(number), **changes} for number, changes in enumerate(rows)]
    return {"topic": f"publicTrade.{market}", "type": "snapshot", "ts": at, "data": data}


on_both = pytest.mark.parametrize("transport", [None, "aiohttp"], indirect=True)


def carries(simulated: Simulated, count: int) -> Callable[[], bool]:
    """A condition: the venue has one connection with this many subscriptions."""
    return lambda: [len(each.subscriptions) for each in simulated.connections] == [count]
