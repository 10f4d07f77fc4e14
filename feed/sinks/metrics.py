"""Makes metrics of a feed for Prometheus: numbers of events, delays, and the state of the feed.

prometheus_client's own counters take a lock for each event. Here, events are counted in batches, and the metrics are
made when Prometheus requests them.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from feed.channels import CHANNELS, OF_VENUES, TRADES
from feed.errors import FeedError, StaleDataError
from feed.events import FeedState

try:
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise ImportError("metrics need prometheus_client: pip install 'market-feed[metrics]'") from None

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from feed.market_feed import MarketFeed
    from feed.sinks.recorder.recorder import Recorder
    from feed.subscriptions.observation import Observation

__all__ = ["FeedCollector", "Metrics", "start_metrics"]

SAMPLE = 200  # delays measured for one coin before the next coin's turn
SERIOUS = ("slow_callback", "callback_error", "feed_stale", "feed_lagging", "circuit_open", "disconnected")
# the upper bounds of the buckets of delays, in seconds
DELAYS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Delays:
    """A histogram. ``counts``: delays per bucket, the last bucket for delays above all bounds; ``total``: sum in s."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(DELAYS) + 1)
        self.total = 0.0

    def family(self, name: str, text: str) -> Metric:
        buckets, below = [], 0
        for bound, count in zip([*map(str, DELAYS), "+Inf"], list(self.counts), strict=True):
            below += count
            buckets.append((bound, below))
        family = HistogramMetricFamily(name, text)
        family.add_metric([], buckets, self.total)
        return family


class _Sample:
    """Passes on the events of one coin of a channel, and after each batch those of another coin.

    Looking at each of thousands of trades a second would cost almost as much as the feed itself.
    """

    def __init__(self, feed: MarketFeed, channel: str, take: Callable[[Sequence[Any], Sequence[float]], None]) -> None:
        self._feed = feed
        self._channel = channel
        self._take = take
        self._turn = 0
        self._closed = False
        self._observation: Observation | None = None
        self._go_on()

    def _go_on(self) -> None:
        coins = [config.symbol for config in self._feed.coin_configs]
        self._turn += 1
        coin = coins[self._turn % len(coins)]
        self._observation = self._feed.observe(self._channel, self._taken, [coin], size=SAMPLE)

    def _taken(self, events: Sequence[Any], times: Sequence[float]) -> None:
        self._take(events, times)
        if len(events) >= SAMPLE and not self._closed:
            self.flush()

    def flush(self) -> None:
        """Pass on the collected events; then another coin's turn begins."""
        observation, self._observation = self._observation, None
        if observation is not None:
            observation.cancel()
            self._go_on()

    def cancel(self) -> None:
        self._closed = True
        if self._observation is not None:
            self._observation.cancel()


class FeedCollector(Collector):
    """Counts what ``feed`` delivers from now on, for a registry of prometheus_client.

    ``coins``: count the events by coin too, which makes a time series for each coin, channel and exchange.
    ``recorder``: also show how much this recorder has written and dropped. ``close`` ends the counting. The
    metrics do not make the feed subscribe to channels.
    """

    def __init__(self, feed: MarketFeed, *, coins: bool = False, recorder: Recorder | None = None) -> None:
        self._feed = feed
        self._coins = coins
        self._recorder = recorder
        self._events: dict[str, Counter[Any]] = {channel: Counter() for channel in OF_VENUES}
        self._last: dict[str, float] = {}  # when the last event of each exchange came, Unix seconds
        self._venue_delays = _Delays()
        self._callback_delays = _Delays()
        self._gaps: Counter[tuple[str, bool]] = Counter()
        self._missing: dict[tuple[str, str], int] = {}  # (exchange, coin) -> trades of the gap that is being filled
        self._status: Counter[tuple[str, str]] = Counter()
        counted = [name for name in OF_VENUES if coins or name != TRADES.name]  # the feed counts all trades itself
        self._observations = [feed.observe(name, self._counter(name)) for name in counted]
        self._samples = [_Sample(feed, name, self._time) for name, row in CHANNELS.items() if row.has_delay]
        self._before = feed.trades_delivered
        self._told = feed.subscribe_status(self._on_status)

    def close(self) -> None:
        """Stop counting. Idempotent."""
        self._told.cancel()
        for observation in self._observations:
            observation.cancel()
        for sample in self._samples:
            sample.cancel()

    def _counter(self, channel: str) -> Callable[[Sequence[Any], Sequence[float]], None]:
        """Return the function that counts the events of ``channel``."""
        counts = self._events[channel]
        key = attrgetter("exchange", "coin") if self._coins else attrgetter("exchange")

        def count(events: Sequence[Any], times: Sequence[float]) -> None:
            counts.update(map(key, events))
            self._note_last(events, times)

        return count

    def _note_last(self, events: Sequence[Any], times: Sequence[float]) -> None:
        wall = time.time() - time.monotonic()
        newest = dict(zip(map(attrgetter("exchange"), events), times, strict=True))
        for exchange, at in newest.items():
            self._last[exchange] = max(at + wall, self._last.get(exchange, 0.0))

    def _time(self, events: Sequence[Any], times: Sequence[float]) -> None:
        """Note the delays of trades, quotes or books.

        A delay below 0, which comes from clocks that differ, counts as 0: a sum must not fall. Trades that were fetched
        after a gap are left out, and so are tickers and candles, which may be old REST answers.
        """
        self._note_last(events, times)
        wall = time.time() - time.monotonic()
        venue, callback = self._venue_delays.counts, self._callback_delays.counts
        venue_total = callback_total = 0.0
        find, bounds = bisect_left, DELAYS
        for event, at in zip(events, times, strict=True):
            if getattr(event, "backfilled", False):
                continue
            received = event.received_at / 1e9
            if (delay := at + wall - received) < 0:
                delay = 0.0
            callback[find(bounds, delay)] += 1
            callback_total += delay
            if event.timestamp:
                if (delay := received - event.timestamp / 1000) < 0:
                    delay = 0.0
                venue[find(bounds, delay)] += 1
                venue_total += delay
        self._venue_delays.total += venue_total
        self._callback_delays.total += callback_total

    def _on_status(self, event: str, details: Mapping[str, Any]) -> None:
        exchange = str(details.get("exchange", ""))
        self._status[exchange, event] += 1
        if event == "gap":
            self._missing[exchange, details["coin"]] = details.get("missing") or 0
        elif event == "gap_filled":
            missing = self._missing.pop((exchange, details["coin"]), 0)
            complete, trades = bool(details["complete"]), details["trades"]
            self._gaps[exchange, complete] += trades if complete else max(missing - trades, 1)

    def _count_trades(self) -> None:
        """Count each exchange's trades since the metrics began.

        Note when the last event of the active exchange came.
        """
        if not self._coins:
            for name, number in self._feed.trades_delivered.items():
                self._events[TRADES.name][name] = number - self._before.get(name, 0)
        status = self._feed.status
        if status.last_message_time is not None:
            self._last[status.exchange] = max(status.last_message_time, self._last.get(status.exchange, 0.0))

    def collect(self) -> Iterator[Metric]:
        """The metric families now; may be called from any thread."""
        for observation in self._observations:
            observation.flush()
        for sample in self._samples:
            sample.flush()
        self._count_trades()
        yield self._event_counts()
        last = GaugeMetricFamily(
            "market_feed_last_event_timestamp_seconds",
            "When the last event was delivered, Unix time.",
            labels=["exchange"],
        )
        for exchange, at in self._last.copy().items():
            last.add_metric([exchange], at)
        yield last
        yield self._venue_delays.family(
            "market_feed_venue_delay_seconds",
            "From the exchange's time of a trade or a quote to its receipt; 0 if the local clock is behind.",
        )
        yield self._callback_delays.family(
            "market_feed_callback_delay_seconds",
            "From the receipt of a trade or a quote until the callbacks that subscribed before the metrics have run.",
        )
        yield from self._state()
        yield from self._troubles()
        if self._recorder is not None:
            yield from _of_recorder(self._recorder)

    def _event_counts(self) -> Metric:
        labels = ["exchange", "channel", *(["coin"] if self._coins else [])]
        events = CounterMetricFamily("market_feed_events", "Events delivered.", labels=labels)
        for channel, counts in self._events.items():
            for key, count in counts.copy().items():
                exchange, *coin = key if self._coins else (key,)
                events.add_metric([exchange, channel, *coin], count)
        return events

    def _state(self) -> Iterator[Metric]:
        feed = self._feed
        status = feed.status
        yield CounterMetricFamily(
            "market_feed_reconnects", "Connections that carried data after one was lost.", status.reconnect_count
        )
        yield CounterMetricFamily("market_feed_failovers", "Changes to another exchange.", status.failover_count)
        yield CounterMetricFamily("market_feed_bad_frames", "Frames that could not be read.", status.bad_frames)
        yield GaugeMetricFamily(
            "market_feed_tradable", "1 while the circuit breaker is closed, 0 while it is open.", int(status.tradable)
        )
        yield GaugeMetricFamily(
            "market_feed_coins_stale", "Coins whose price is missing or older than coin_stale_after.", _stale(feed)
        )
        yield GaugeMetricFamily(
            "market_feed_lag_seconds",
            "By how much the data is behind the exchange; NaN if this is not known.",
            float("nan") if status.lag is None else status.lag,
        )
        states = GaugeMetricFamily("market_feed_state", "1 for the state that the feed is in.", labels=["state"])
        for state in FeedState:
            states.add_metric([str(state)], int(state is status.state))
        yield states

    def _troubles(self) -> Iterator[Metric]:
        gaps = CounterMetricFamily(
            "market_feed_gap_trades",
            "Trades of gaps. complete=true: the fetched trades of each gap that was proven complete. complete=false: "
            "the trades that are missing, as far as their number is known, at least 1 for each gap.",
            labels=["exchange", "complete"],
        )
        begun = self._last.copy()  # Prometheus sees no increase in a series that begins above 0
        at_zero = {(exchange, complete): 0 for exchange in begun for complete in (True, False)}
        for (exchange, complete), trades in (at_zero | self._gaps.copy()).items():
            gaps.add_metric([exchange, str(complete).lower()], trades)
        yield gaps
        told = CounterMetricFamily("market_feed_status_events", "Status events.", labels=["exchange", "event"])
        for (exchange, event), count in (dict.fromkeys(product(begun, SERIOUS), 0) | self._status.copy()).items():
            told.add_metric([exchange, event], count)
        yield told


def _of_recorder(recorder: Recorder) -> Iterator[Metric]:
    status = recorder.status
    yield CounterMetricFamily("market_feed_recorder_events", "Events that are on disk.", status.written)
    yield CounterMetricFamily(
        "market_feed_recorder_dropped", "Events that were dropped because the disk is slow or full.", status.dropped
    )
    yield GaugeMetricFamily("market_feed_recorder_waiting", "Events that are not on disk yet.", status.waiting)
    failing = status.failure is not None
    yield GaugeMetricFamily("market_feed_recorder_failing", "1 while writing fails.", int(failing))


def _stale(feed: MarketFeed) -> int:
    """How many coins have no price, or one that is too old by the settings."""
    stale = 0
    for coin in feed.coin_configs:
        try:
            feed.require_fresh(coin.symbol)
        except StaleDataError as error:
            stale += error.age is None or error.age > error.limit
    return stale


def text(collector: FeedCollector) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


class Metrics:
    """The metrics of a feed, served over HTTP on ``port`` by threads of their own, until ``close``."""

    def __init__(self, collector: FeedCollector, server: WSGIServer, thread: Thread) -> None:
        self._collector = collector
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def __repr__(self) -> str:
        return f"<Metrics on port {self.port}>"

    def close(self) -> None:
        """Free the port and stop counting. Idempotent."""
        self._collector.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_metrics(
    feed: MarketFeed,
    port: int = 9100,
    *,
    host: str = "127.0.0.1",
    coins: bool = False,
    recorder: Recorder | None = None,
) -> Metrics:
    """Serve the feed's metrics for Prometheus at ``http://host:port/metrics``, and count from now on.

    Subscribe your own callbacks first: then ``market_feed_callback_delay_seconds`` includes their time. ``port`` 0
    takes any free one; ``coins`` counts events by coin too; ``recorder`` shows what a recorder of the feed does.
    Returns a handle with ``port`` and ``close()``. Raises FeedError if the port cannot be opened.
    """
    collector = FeedCollector(feed, coins=coins, recorder=recorder)
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        collector.close()
        reason = getattr(error, "strerror", None) or error
        raise FeedError(f"metrics: port {port} on {host} cannot be opened: {reason}") from None
    return Metrics(collector, server, thread)
