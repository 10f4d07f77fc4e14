"""A forked child process has neither the feed's event loop nor its thread, so its copy of the feed is not connected."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from exchanges.simulator import ThreadedSimulator

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

SCRIPT = """
import asyncio, os, sys, time, traceback
from feed import FeedState, MarketFeed, Settings, StaleDataError
from feed.events import CoinConfig
from feed.settings import ExchangeConfig

def settings():
    venue = ExchangeConfig("binance", rest_url=sys.argv[1], ws_url=sys.argv[2])
    return Settings(coins=[CoinConfig("BTC")], exchanges=[venue])

async def slow(tick):
    await asyncio.sleep(0.01)

def child(feed):
    began = time.monotonic()
    status, health = feed.status, feed.get_health()
    assert (status.connected, status.state, health["status"]) == (False, FeedState.CLOSED, "failed"), (status, health)
    try:
        feed.require_fresh("BTC", 60)
    except StaleDataError as error:
        assert "not connected" in error.reason
    else:
        raise AssertionError("a price of the parent's is fresh")
    feed.stop()
    asyncio.run(feed.disconnect())
    assert time.monotonic() - began < 1
    ticks = []
    feed.subscribe_price(ticks.append)
    feed.start()  # a feed of its own
    feed.require_fresh("BTC", 60)
    feed.stop()

def forked(feed):
    pid = os.fork()
    if pid == 0:
        try:
            child(feed)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def parent_in_a_thread():
    feed = MarketFeed(settings=settings())
    feed.subscribe_price(slow)
    feed.start()
    feed.require_fresh("BTC", 60)
    forked(feed)
    assert feed.status.connected
    count = feed.status.messages_received
    while feed.status.messages_received < count + 20:
        time.sleep(0.01)
    feed.require_fresh("BTC", 60)
    feed.stop()

async def parent_in_a_loop():
    async with MarketFeed(settings=settings()) as feed:
        feed.subscribe_price(slow)
        await asyncio.to_thread(forked, feed)
        assert feed.status.connected
        count = feed.status.messages_received
        while feed.status.messages_received < count + 20:
            await asyncio.sleep(0.01)

parent_in_a_thread() if sys.argv[3] == "thread" else asyncio.run(parent_in_a_loop())
print("done")
"""


@pytest.mark.parametrize("where", ["thread", "loop"])
def test_a_forked_childs_feed_is_not_connected_and_the_feed_of_its_parent_continues(where: str) -> None:
    forks = "ignore:This process:DeprecationWarning"  # Python 3.12 and later warn of a fork while threads run
    with ThreadedSimulator(venues=("binance",), rate=100) as simulator:
        command = [sys.executable, "-W", "error", "-W", forks, "-c", SCRIPT, simulator.rest_url, simulator.ws_url]
        ended = subprocess.run([*command, where], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
