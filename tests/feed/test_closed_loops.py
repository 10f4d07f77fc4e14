"""If an event loop is closed before disconnect(), the feed reports this and can be connected again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import ThreadedSimulator

BEGIN = """
import asyncio, sys, threading
from feed import FeedState, MarketFeed, StaleDataError

feed = MarketFeed(["BTC"], settings=sys.argv[1])
told, trades = [], []
feed.subscribe_status(lambda event, details: told.append(event))
async def on_trade(trade):
    trades.append(trade)
feed.subscribe_trades(on_trade)
loop = asyncio.new_event_loop()
loop.run_until_complete(feed.connect())
loop.close()
assert feed.status.state is FeedState.CLOSED and not feed.status.connected, feed.status
try:
    feed.require_fresh("BTC")
    raise SystemExit("a price is fresh that nobody keeps fresh")
except StaleDataError as error:
    assert "not connected" in str(error), error

async def live():
    trades.clear()
    async with asyncio.timeout(20):
        while not trades:
            await asyncio.sleep(0.01)
    assert feed.status.connected
"""
AGAIN = {
    "connect": """
async def again():
    await feed.connect()
    await live()
    await feed.disconnect()
asyncio.run(again())
""",
    "start": """
feed.start()
while not trades:
    threading.Event().wait(0.01)
assert feed.status.connected
feed.stop()
""",
    "disconnect": """
async def again():
    await feed.disconnect()
    assert "closed" in told
    async with feed:
        await live()
asyncio.run(again())
""",
    "add_coins": """
async def again():
    await feed.add_coins("ETH")
    async with feed:
        await live()
        assert {coin.symbol for coin in feed.coin_configs} == {"BTC", "ETH"}
asyncio.run(again())
""",
}
END = """
assert told.count("connected") == 2 and told.count("closed") == 2, told
print("live")
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[ThreadedSimulator]:
    with ThreadedSimulator(venues=["binance"], rate=50) as simulator:
        yield simulator


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("again", AGAIN)
def test_a_feed_whose_loop_was_closed_can_be_connected_again(
    again: str, transport: str, simulator: ThreadedSimulator, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(simulator.settings_yaml())
    command = [sys.executable, "-c", BEGIN + AGAIN[again] + END, str(file)]
    found = {**os.environ, "MARKET_FEED_TRANSPORT": transport}
    ended = subprocess.run(command, env=found, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "live\n", ended.stderr
    assert ended.returncode == 0
