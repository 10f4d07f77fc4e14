"""A trade as each venue's stream carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exchanges.simulator.binance.streams import wrapped


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade of a venue; ``time`` is in Unix ms, price and quantity are text."""

    market: str
    id: int
    price: str
    quantity: str
    sold: bool
    time: int


def binance(trade: Trade, stream: str, combined: bool) -> str:
    """Return the frame of a trade on ``@trade`` or ``@aggTrade``, raw or wrapped for the combined endpoint."""
    channel = stream.partition("@")[2]
    own, orders = ("t", "") if channel == "trade" else ("a", f'"f":{trade.id},"l":{trade.id},')
    text = (
        f'{{"e":"{channel}","E":{trade.time},"s":"{trade.market}","{own}":{trade.id},"p":"{trade.price}",'
        f'"q":"{trade.quantity}",{orders}"T":{trade.time},"m":{"true" if trade.sold else "false"},"M":true}}'
    )
    return wrapped(stream, [text])[0] if combined else text


def bybit(trade: Trade, stream: str, combined: bool) -> str:
    """Return the frame of a trade on ``publicTrade``, which has only this trade."""
    return (
        f'{{"topic":"{stream}","ts":{trade.time},"type":"snapshot","data":[{{"i":"{trade.id}","T":{trade.time},'
        f'"p":"{trade.price}","v":"{trade.quantity}","S":"{"Sell" if trade.sold else "Buy"}","s":"{trade.market}",'
        f'"BT":false,"RPI":false,"seq":{trade.id}}}]}}'
    )


@dataclass(frozen=True, slots=True)
class Wire:
    """``streams``: a market's streams that carry trades; ``text``: a trade's frame on such a stream, combined or
    not."""

    streams: Callable[[str], tuple[str, ...]]
    text: Callable[[Trade, str, bool], str]


WIRES: Mapping[str, Wire] = {
    "binance": Wire(lambda market: (f"{market.lower()}@trade", f"{market.lower()}@aggTrade"), binance),
    "bybit": Wire(lambda market: (f"publicTrade.{market}",), bybit),
}
