"""The feed delivers each trade exactly once when the simulator replays frames of Binance captured in 2024."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator import Simulator
from feed import MarketFeed, Quote, TradeEvent
from feed import Recorder as FileRecorder
from tests.recordings import Delivered, played, until
from tests.support import Recorder, settings_for

CAPTURES = Path(__file__).parents[2] / "shared" / "captures"
FILES = {
    "BTC": (CAPTURES / "binance-spot-btcusdt_20240808.raw.gz", 9_757, (3735683259, 3735693015)),
    "ETH": (CAPTURES / "binance-spot-ethusdt_20240808.raw.gz", 6_106, (1520538925, 1520545030)),
}
MISSING = [path.name for path, _, _ in FILES.values() if not path.exists()]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not in ../shared/captures: {', '.join(MISSING)}")


def recorded(coin: str) -> list[tuple[Any, ...]]:
    """The trades in a capture's frames, read without the code under test."""
    trades = []
    with gzip.open(FILES[coin][0], "rt") as lines:
        for line in lines:
            frame = json.loads(line.partition(" ")[2])
            data = frame.get("data", {})
            if data.get("e") == "trade":
                price, quantity = float(Decimal(data["p"])), float(Decimal(data["q"]))
                trades.append((coin, price, quantity, data["m"], data["T"], "binance", str(data["t"]), False))
    return trades


def fields(trade: TradeEvent) -> tuple[Any, ...]:
    """All fields of a trade except the local time at which its frame was read."""
    return (
        trade.coin, trade.price, trade.quantity, trade.is_buyer_maker, trade.timestamp, trade.exchange,
        trade.trade_id, trade.backfilled,
    )  # fmt: skip


async def test_every_captured_trade_arrives_once_in_order_and_unchanged() -> None:
    """The simulator sends 9,757 trades of BTC and 6,106 of ETH without pauses, and every field is compared."""
    paths = [path for path, _, _ in FILES.values()]
    async with Simulator(replay=paths, speed=0, venues=("binance",)) as simulator:
        feed = MarketFeed(["BTC", "ETH"], exchange=["binance"], settings=settings_for(simulator))
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: len(got.trades) >= 15_863, timeout=60)
            await simulator.replay_done.wait()
            health = feed.status
    for coin, (_, count, (first, last)) in FILES.items():
        mine = [trade for trade in got.trades if trade.coin == coin]
        assert len(mine) == count
        assert [int(trade.trade_id) for trade in mine] == list(range(first, last + 1))
        assert [fields(trade) for trade in mine] == recorded(coin)
        assert all(trade.received_at > trade.timestamp * 1_000_000 for trade in mine)
    assert len(got.trades) == 15_863
    assert health.bad_frames == 0
    assert "gap" not in got.events
    assert "disconnected" not in got.events


async def test_each_captured_trade_makes_a_tick_with_its_price() -> None:
    """The last tick has the price of the last trade."""
    paths = [path for path, _, _ in FILES.values()]
    async with Simulator(replay=paths, speed=0, venues=("binance",)) as simulator:
        feed = MarketFeed(["BTC", "ETH"], exchange=["binance"], settings=settings_for(simulator, channels=["trades"]))
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: len(got.trades) >= 15_863, timeout=60)
            for coin in FILES:
                ticks = [(tick.price, tick.timestamp) for tick in got.prices if tick.coin == coin]
                trades = [(trade[1], trade[4]) for trade in recorded(coin)]
                assert ticks[-len(trades) :] == trades
                tick = feed.get_price(coin)
                assert tick is not None
                assert (tick.price, tick.timestamp) == trades[-1]
                assert tick.volume_24h > 0


async def test_a_recording_of_the_captures_replays_every_event_unchanged_and_in_order(tmp_path: Path) -> None:
    """The events are trades, quotes, tickers, candles, books, prices and status events; every field is compared."""
    paths = [path for path, _, _ in FILES.values()]
    async with Simulator(replay=paths, speed=0, venues=("binance",)) as simulator:
        settings = settings_for(simulator, channels=["trades", "ticker", "candles", "quotes", "books"])
        feed = MarketFeed(["BTC", "ETH"], exchange=["binance"], settings=settings)
        live = Delivered(feed)
        async with FileRecorder(feed, tmp_path, flush_seconds=0.5, file_seconds=1), feed:
            await simulator.replay_done.wait()
            await until(lambda: len(live.of(TradeEvent)) >= 15_863)
    delivered = await played(tmp_path)
    assert len(delivered.of(Quote)) > 10_000
    assert delivered.shown == live.shown
