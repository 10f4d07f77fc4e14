"""Programs without asyncio: the feed runs in a thread of its own with start(), or blocks its caller with run()."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from exchanges.simulator import ThreadedSimulator
from feed import FeedError, FeedState, MarketFeed, NoExchangeAvailable, PriceTick, Settings, StaleDataError
from feed.events import CoinConfig
from feed.running.background import Background
from feed.settings import Connection, ExchangeConfig, Staleness
from tests.support import PATIENCE


@pytest.fixture(scope="module")
def simulator() -> Iterator[ThreadedSimulator]:
    with ThreadedSimulator(venues=("bybit",), rate=200) as simulator:
        yield simulator


@pytest.fixture
def settings(simulator: ThreadedSimulator) -> Settings:
    return Settings(
        coins=[CoinConfig("BTC"), CoinConfig("ETH")],
        exchanges=[ExchangeConfig("bybit", rest_url=simulator.rest_url, ws_url=simulator.ws_url)],
        connection=Connection(backoff_initial=0.05, backoff_max=0.5),
    )


@pytest.fixture
def feed(settings: Settings) -> Iterator[MarketFeed]:
    feed = MarketFeed(settings=settings)
    yield feed
    feed.stop()


def nowhere() -> MarketFeed:
    """A feed whose only venue cannot be reached."""
    venue = ExchangeConfig("bybit", rest_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1")
    return MarketFeed(["BTC"], settings=Settings(exchanges=[venue]))


def test_a_callback_that_blocks_the_loop_is_seen_from_another_thread(settings: Settings) -> None:
    """The loop itself cannot report that it is blocked. When the callback returns, the feed continues as before."""
    settings.staleness = Staleness(feed_stale_after=0.5, reconnect_after=20)
    feed = MarketFeed(settings=settings)
    blocks, goes_on = threading.Event(), threading.Event()

    def on_price(tick: PriceTick) -> None:
        if blocks.is_set():
            goes_on.wait(PATIENCE)

    feed.subscribe_price(on_price)
    feed.start()
    try:
        blocks.set()
        seen_within(lambda: not feed.status.connected)
        assert [feed.status.state, feed.get_status()["state"]] == [FeedState.STALE, "stale"]
        assert feed.get_health()["status"] == "degraded"
        for max_age in (None, 0.5):
            with pytest.raises(StaleDataError):
                feed.require_fresh("BTC", max_age)
        blocks.clear()
        goes_on.set()
        seen_within(lambda: feed.status.connected and feed.status.state is FeedState.LIVE)
        assert feed.get_health()["status"] == "healthy"
    finally:
        goes_on.set()
        feed.stop()


def seen_within(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds, by checking it repeatedly."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "market feed"]


def test_a_started_feed_answers_calls_from_any_thread(feed: MarketFeed) -> None:
    """The feed's callbacks run in the feed's own thread."""
    where: set[str] = set()
    priced, judged = threading.Event(), threading.Event()

    def on_price(tick: PriceTick) -> None:
        where.add(threading.current_thread().name)
        if tick.coin == "BTC":
            priced.set()
        if feed.volatility("BTC") is not None:
            judged.set()

    feed.subscribe_price(on_price)
    feed.start()
    assert priced.wait(PATIENCE)
    assert judged.wait(PATIENCE)

    def ask(_: int) -> bool:
        tick = feed.get_price("btc")
        fresh = feed.require_fresh("BTC", max_age=60)
        return (tick is not None, fresh.coin, feed.tradable) == (True, "BTC", True) and feed.volatility("BTC") != 0

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
        assert len(pool.submit(lambda: asyncio.run(feed.candles_history("BTC", "5m", 3))).result()) == 3
    assert where == {"market feed"}
    feed.stop()
    assert feed.status.state is FeedState.CLOSED
    with pytest.raises(StaleDataError, match="not connected"):
        feed.require_fresh("BTC", max_age=60)


def test_start_and_stop_may_be_called_in_any_order(feed: MarketFeed) -> None:
    """Stopping a stopped feed does nothing, starting a running one is an error, and a stopped feed can start again."""
    feed.stop()
    feed.start()
    with pytest.raises(FeedError, match="connected already"):
        feed.start()
    with pytest.raises(FeedError, match="connected already"):
        feed.run()
    feed.stop()
    feed.stop()
    assert threads() == []
    feed.start()
    assert feed.status.connected


def test_a_callback_may_stop_the_feed(feed: MarketFeed) -> None:
    """stop() in a callback returns without waiting for the callback's end; the next start() waits for this end."""
    stopped = threading.Event()

    def enough(tick: PriceTick) -> None:
        if not stopped.is_set():
            feed.stop()
            stopped.set()

    feed.subscribe_price(enough)
    feed.start()
    assert stopped.wait(PATIENCE)
    feed.start()
    assert feed.status.connected
    assert len(threads()) == 1


def test_start_and_run_raise_the_error_of_connecting() -> None:
    """No thread is left behind."""
    for begin in (nowhere().start, nowhere().run):
        with pytest.raises(NoExchangeAvailable, match=r"bybit: .*Cannot connect"):
            begin(timeout=0.5)
    assert threads() == []


def test_a_feed_can_be_stopped_while_it_connects() -> None:
    """Another thread stops the feed; then start(), which would retry for ever, returns."""
    feed = nowhere()
    tried = threading.Event()
    feed.subscribe_status(lambda event, details: tried.set())
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(feed.start, None)
        assert tried.wait(PATIENCE)
        feed.stop()
        starting.result(PATIENCE)
    assert threads() == []


def test_a_stop_that_is_requested_before_the_loop_runs_takes_effect() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def nothing() -> None:
        pass

    background = Background(for_ever, nothing)
    background.stop()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(background.start).result(PATIENCE)
    background.stop()
    assert threads() == []


def test_run_blocks_until_a_callback_stops_it(feed: MarketFeed) -> None:
    seen: list[str] = []

    def enough(tick: PriceTick) -> None:
        seen.append(threading.current_thread().name)
        feed.stop()

    feed.subscribe_price(enough)
    feed.run()
    assert set(seen) == {threading.current_thread().name}
    assert not feed.status.connected


async def test_a_feed_can_be_started_while_an_event_loop_runs(feed: MarketFeed) -> None:
    """In Jupyter, for example, start() works, coroutines can be awaited, and run() raises an error with advice."""
    with pytest.raises(FeedError, match=r"await connect\(\), or call start\(\)"):
        feed.run()
    feed.start()
    assert len(await feed.candles_history("BTC", "1m", 3)) == 3
    with pytest.raises(FeedError, match="another thread"):
        await feed.connect()
    await feed.disconnect()
    assert threads() == []
    await feed.connect()
    assert feed.get_all_prices()
    await feed.disconnect()


def test_each_thread_of_a_web_server_can_read_prices(feed: MarketFeed) -> None:
    """In Flask and Django, for example, each request has a thread of its own."""
    first = threading.Event()
    feed.subscribe_price(lambda tick: first.set(), "BTC")
    feed.start()
    assert first.wait(PATIENCE)

    class PriceCache(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(feed.require_fresh(self.path[1:], max_age=60).price).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), PriceCache) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                urls = [f"http://127.0.0.1:{server.server_port}/btc"] * 20
                assert all(float(urlopen(url, timeout=PATIENCE).read()) > 0 for url in pool.map(str, urls))
        finally:
            server.shutdown()
            serving.join()


def test_a_program_that_forgets_to_stop_the_feed_ends_anyway(simulator: ThreadedSimulator, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(simulator.settings_yaml())
    code = "from feed import MarketFeed; feed = MarketFeed(['BTC']); feed.start(); print(feed.status.state)"
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "MARKET_FEED_SETTINGS": str(settings)},
    )
    # a line "Executing ..." only shows that the machine is busy
    complaints = [line for line in ended.stderr.splitlines() if not line.startswith("Executing ")]
    assert (ended.returncode, ended.stdout.strip(), complaints) == (0, "live", [])
