"""Metrics of a real feed on the simulator, read over HTTP by a program and by a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exchanges.simulator import SimulatedVenue, Simulator
from feed import FeedError, MarketFeed, Recorder, start_metrics
from feed.sinks.metrics import FeedCollector, Metrics
from tests.support import PATIENCE, settings_for, until

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations"
Samples = dict[str, float]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), rate=100.0) as simulator:
        yield simulator


@pytest.fixture
def venue(simulator: Simulator) -> SimulatedVenue:
    return simulator["binance"]


@pytest.fixture
async def feed(simulator: Simulator) -> AsyncIterator[MarketFeed]:
    feed = MarketFeed(settings=settings_for(simulator))
    yield feed
    await feed.disconnect()


@pytest.fixture
def metrics(feed: MarketFeed) -> Iterator[Metrics]:
    with start_metrics(feed, 0) as metrics:
        yield metrics


def page(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def parsed(text: str) -> Samples:
    """Map each sample, written as ``name label=value ...`` with labels in alphabetical order, to its value."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        " ".join([each.name, *(f"{label}={value}" for label, value in sorted(each.labels.items()))]): each.value
        for each in samples
    }


async def scraped(port: int) -> Samples:
    return parsed(await asyncio.to_thread(page, port))


async def test_metrics_have_the_same_events_and_delays_as_a_subscriber(feed: MarketFeed, metrics: Metrics) -> None:
    trades: list[Any] = []
    candles: list[Any] = []
    feed.subscribe_trades(trades.append)
    feed.subscribe_candles(candles.append)
    await feed.connect()
    await until(lambda: len(trades) > 100)
    await feed.disconnect()
    found = await scraped(metrics.port)
    assert found["market_feed_events_total channel=trades exchange=binance"] == len(trades)
    assert found["market_feed_events_total channel=candles exchange=binance"] == len(candles)
    sampled = found["market_feed_venue_delay_seconds_count"]
    assert 10 < sampled <= len(trades)
    assert found["market_feed_callback_delay_seconds_count"] == sampled
    mean = found["market_feed_callback_delay_seconds_sum"] / sampled
    assert 0 < mean < 1
    newest = max(event.received_at for event in [*trades, *candles]) / 1e9
    assert 0 <= found["market_feed_last_event_timestamp_seconds exchange=binance"] - newest < 5


async def test_metrics_cause_no_further_subscriptions_at_the_exchange(simulator: Simulator) -> None:
    settings = settings_for(simulator, channels=["trades"])
    feed = MarketFeed(settings=settings)
    with start_metrics(feed, 0) as metrics:
        async with feed:
            await until(lambda: feed.status.messages_received > 10)
            found = await scraped(metrics.port)
    assert found["market_feed_events_total channel=trades exchange=binance"] > 0
    assert not [key for key in found if "channel=candles" in key or "channel=quotes" in key]


async def test_all_metrics_exist_before_the_first_event(metrics: Metrics) -> None:
    found = {
        family.name: family.type
        for family in text_string_to_metric_families(await asyncio.to_thread(page, metrics.port))
    }
    assert found == {
        "market_feed_events": "counter",
        "market_feed_last_event_timestamp_seconds": "gauge",
        "market_feed_venue_delay_seconds": "histogram",
        "market_feed_callback_delay_seconds": "histogram",
        "market_feed_reconnects": "counter",
        "market_feed_failovers": "counter",
        "market_feed_bad_frames": "counter",
        "market_feed_tradable": "gauge",
        "market_feed_coins_stale": "gauge",
        "market_feed_lag_seconds": "gauge",
        "market_feed_state": "gauge",
        "market_feed_gap_trades": "counter",
        "market_feed_status_events": "counter",
    }


async def test_coins_are_stale_until_they_have_a_price(feed: MarketFeed, metrics: Metrics) -> None:
    assert (await scraped(metrics.port))["market_feed_coins_stale"] == 2
    await feed.connect()
    await until(lambda: len(feed.get_all_prices()) == 2)
    found = await scraped(metrics.port)
    assert found["market_feed_coins_stale"] == 0
    assert found["market_feed_tradable"] == 1
    assert found["market_feed_state state=live"] == 1
    await feed.disconnect()
    found = await scraped(metrics.port)
    assert found["market_feed_coins_stale"] == 2
    assert found["market_feed_state state=closed"] == 1


async def test_an_outage_is_counted_as_a_reconnect_and_a_complete_gap(
    feed: MarketFeed, venue: SimulatedVenue, metrics: Metrics
) -> None:
    filled: list[dict[str, Any]] = []
    trades: list[Any] = []
    feed.subscribe_trades(trades.append)
    feed.subscribe_status(lambda event, details: filled.append(details) if event == "gap_filled" else None)
    await feed.connect()
    await until(lambda: len(trades) > 10)
    with venue.partition():
        await until(lambda: feed.status.state == "reconnecting")
        made = venue.trades_made
        await until(lambda: venue.trades_made > made + 20)
    await until(lambda: bool(filled) and feed.status.connected)
    found = await scraped(metrics.port)
    assert found["market_feed_reconnects_total"] == 1
    shown = "market_feed_gap_trades_total complete=true exchange=binance"
    async with asyncio.timeout(PATIENCE):
        while found.get(shown) != sum(each["trades"] for each in filled):  # until the metrics include all filled gaps
            found = await scraped(metrics.port)
    assert found[shown] >= 1
    assert found["market_feed_status_events_total event=disconnected exchange=binance"] >= 1


async def test_metrics_have_coins_as_a_label_on_request(feed: MarketFeed) -> None:
    trades: list[Any] = []
    feed.subscribe_trades(trades.append, ["BTC"])
    with start_metrics(feed, 0, coins=True) as metrics:
        await feed.connect()
        await until(lambda: len(trades) > 2)
        found = await scraped(metrics.port)
        await feed.disconnect()
    assert found["market_feed_events_total channel=trades coin=BTC exchange=binance"] > 0


async def test_metrics_show_what_a_recorder_has_written(feed: MarketFeed, tmp_path: Path) -> None:
    recorder = Recorder(feed, tmp_path / "ticks", flush_seconds=0.2)
    with start_metrics(feed, 0, recorder=recorder) as metrics:
        async with recorder, feed:
            await until(lambda: recorder.status.written > 20, 30)
            found = await scraped(metrics.port)
    assert found["market_feed_recorder_events_total"] > 20
    assert found["market_feed_recorder_dropped_total"] == found["market_feed_recorder_failing"] == 0
    assert found["market_feed_recorder_waiting"] >= 0


async def test_a_gap_that_is_not_filled_counts_its_missing_trades(feed: MarketFeed) -> None:
    collector = FeedCollector(feed)
    collector._on_status("gap", {"exchange": "x", "coin": "BTC", "missing": 7})
    collector._on_status("gap_filled", {"exchange": "x", "coin": "BTC", "trades": 3, "complete": False})
    collector._on_status("gap_filled", {"exchange": "x", "coin": "ETH", "trades": 0, "complete": False})
    (family,) = [each for each in collector.collect() if each.name == "market_feed_gap_trades"]
    assert [(each.labels["complete"], each.value) for each in family.samples] == [("false", 5)]


async def test_a_port_in_use_causes_an_error_of_one_line(feed: MarketFeed, metrics: Metrics) -> None:
    with pytest.raises(FeedError, match=rf"^metrics: port {metrics.port} on 127\.0\.0\.1 cannot be opened: .+$"):
        start_metrics(feed, metrics.port)


async def test_metrics_can_be_closed_twice(feed: MarketFeed) -> None:
    metrics = start_metrics(feed, 0)
    metrics.close()
    metrics.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", metrics.port)) != 0


def test_an_unknown_channel_cannot_be_observed(simulator: Simulator) -> None:
    feed = MarketFeed(settings=settings_for(simulator))
    with pytest.raises(ValueError, match="'prices'; allowed are trades, ticker, candles, quotes, books"):
        feed.observe("prices", lambda events, times: None)


def test_the_error_names_a_missing_extra() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None\nimport feed\nfeed.start_metrics"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.splitlines()[-1] == (
        "ImportError: metrics need prometheus_client: pip install 'market-feed[metrics]'"
    )


# --- on the command line, and with a real Prometheus


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_watch_serves_metrics(simulator: Simulator, tmp_path: Path) -> None:
    file, port = tmp_path / "settings.yaml", free_port()
    file.write_text(simulator.settings_yaml())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "feed", "watch", "BTC", "--settings", str(file), "--metrics-port", str(port)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"connected" not in await process.stdout.readline():
                pass
        found = await scraped(port)
    finally:
        process.terminate()
        await process.communicate()
    assert found["market_feed_tradable"] == 1


promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


@promtool
def test_promtool_accepts_the_alert_rules() -> None:
    command = ["promtool", "check", "rules", str(OPERATIONS / "alerts.yml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "10 rules found" in ended.stdout + ended.stderr


@promtool
def test_each_alert_fires_on_its_series(tmp_path: Path) -> None:
    """promtool runs unit tests of the rules, with a time series for which each alert must fire."""
    command = ["promtool", "test", "rules", str(OPERATIONS / "alerts_test.yml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@promtool
async def test_promtool_accepts_the_metrics(feed: MarketFeed, metrics: Metrics) -> None:
    await feed.connect()
    await until(lambda: len(feed.get_all_prices()) == 2)
    text = await asyncio.to_thread(page, metrics.port)
    ended = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def queries() -> list[str]:
    dashboard = json.loads((OPERATIONS / "grafana.json").read_text("utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


async def test_the_dashboard_and_the_rules_use_only_existing_metrics(
    feed: MarketFeed, metrics: Metrics, tmp_path: Path
) -> None:
    collector = FeedCollector(feed, recorder=Recorder(feed, tmp_path))
    names = {sample.name for family in collector.collect() for sample in family.samples}
    families = {family.name for family in collector.collect()} | {"market_feed_bus_publishes"}
    known = names | families | {f"{name}{end}" for name in families for end in ("_total", "_bucket")}
    rules = (OPERATIONS / "alerts.yml").read_text("utf-8")
    asked = {name for text in [*queries(), rules] for name in re.findall(r"market_feed_\w+", text)}
    assert asked
    assert asked <= known


@promtool
async def test_prometheus_scrapes_the_feed_and_answers_the_dashboards_queries(
    feed: MarketFeed, venue: SimulatedVenue, metrics: Metrics, tmp_path: Path
) -> None:
    await feed.connect()
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}\nrule_files: [{OPERATIONS / 'alerts.yml'}]\n"
        f"scrape_configs: [{{job_name: market-feed, static_configs: [{{targets: ['127.0.0.1:{metrics.port}']}}]}}]\n"
    )
    process = await asyncio.create_subprocess_exec(
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )

    def ask(path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    async def value(query: str) -> float | None:
        try:
            found = (await asyncio.to_thread(ask, "query?" + urlencode({"query": query})))["result"]
        except OSError:  # Prometheus is still starting
            return None
        return float(found[0]["value"][1]) if found else None

    async def rises(query: str) -> None:
        while not await value(query):  # noqa: ASYNC110 - Prometheus has no event for it
            await asyncio.sleep(0.2)

    try:
        async with asyncio.timeout(30):
            await rises('rate(market_feed_events_total{channel="trades"}[5s])')
            for query in queries():
                await asyncio.to_thread(ask, "query?" + urlencode({"query": query.replace("$__rate_interval", "5s")}))
            with venue.stalled():
                await rises('market_feed_state{state="stale"}')
                await rises('ALERTS{alertname="MarketFeedStale"}')
    finally:
        process.terminate()
        await process.wait()
