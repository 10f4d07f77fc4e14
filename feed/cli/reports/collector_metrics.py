"""``collect --metrics-port``: serves the metrics of all exchanges' feeds, and of what they publish, on one port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feed.cli.process import CommandError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from feed.sinks.bus.collector import Collector

LABEL = "exchange"


@contextmanager
def metrics(collectors: Sequence[Collector], port: int | None) -> Iterator[None]:
    """Serve the metrics of all collectors on ``port`` of 127.0.0.1; None: do not serve them. Raises CommandError."""
    if port is None:
        yield
        return
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        from feed.sinks.metrics import FeedCollector
    except ImportError:
        raise CommandError("metrics need prometheus_client: pip install 'market-feed[metrics]'") from None
    feeds = {each.exchange: FeedCollector(each.feed) for each in collectors}

    class Together:
        """Joins the metrics of all feeds: one family of each name, with the exchange as a label of every sample."""

        def collect(self) -> Iterator[Metric]:
            families: dict[str, Metric] = {}
            for exchange, feed in feeds.items():
                for family in feed.collect():
                    samples = [
                        sample._replace(labels={**sample.labels, LABEL: sample.labels.get(LABEL, exchange)})
                        for sample in family.samples
                    ]
                    known = families.setdefault(family.name, family)
                    known.samples = samples if known is family else [*known.samples, *samples]
            yield from families.values()
            yield from _of_bus(collectors)

    registry = CollectorRegistry()
    registry.register(Together())
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except (OSError, OverflowError) as error:
        raise CommandError(f"--metrics-port {port} cannot be opened: {getattr(error, 'strerror', error)}") from None
    try:
        yield
    finally:
        for feed in feeds.values():
            feed.close()
        server.shutdown()
        server.server_close()
        thread.join()


def _of_bus(collectors: Sequence[Collector]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    published = CounterMetricFamily("market_feed_bus_published", "Messages that the bus has stored", labels=[LABEL])
    lost = CounterMetricFamily("market_feed_bus_lost", "Messages that the bus never stored", labels=[LABEL])
    waiting = GaugeMetricFamily("market_feed_bus_waiting", "Messages that the bus has not stored yet", labels=[LABEL])
    leads = GaugeMetricFamily("market_feed_bus_publishes", "1 while this collector publishes", labels=[LABEL])
    for each in collectors:
        told = each.details()
        published.add_metric([each.exchange], told["published"])
        lost.add_metric([each.exchange], told["lost"])
        waiting.add_metric([each.exchange], told["waiting"])
        leads.add_metric([each.exchange], float(told["publishes"]))
    yield from (published, lost, waiting, leads)
