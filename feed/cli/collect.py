"""``market-feed collect``: receives exchanges' data once and publishes it on the bus for any number of programs."""

from __future__ import annotations

import argparse
import asyncio

from exchanges.venue import BusAddress
from feed.cli.process import CommandError, Exit, start_log
from feed.cli.process import run as run_process
from feed.cli.reports.collector_metrics import metrics
from feed.errors import FeedError
from feed.settings.file import bus_of, load_settings
from feed.settings.schema import Settings


def run(args: argparse.Namespace) -> int:
    """Collect until interrupted or for ``--seconds``."""
    return run_process(_collect(args))


def bus_address(url: str | None, settings: Settings) -> BusAddress:
    """The bus that the command line, the environment or the settings name. Raises CommandError."""
    if url is not None:
        settings.bus = bus_of(url, "--bus", settings.bus)
    if settings.bus is None:
        raise CommandError("no bus is named: use --bus URL, MARKET_FEED_BUS, or bus: in the settings")
    return settings.bus.address


async def _collect(args: argparse.Namespace) -> int:
    from exchanges.bus.client import missing
    from exchanges.bus.shards import ShardChoice
    from feed.sinks.bus.collectors import Collectors
    from feed.sinks.bus.streams import Retention

    if fault := missing():
        raise CommandError(fault, Exit.FAILED)
    start_log(args.log_level or "INFO")
    settings = load_settings(args.settings)
    if settings.recording is not None:
        raise CommandError(
            "recording: found one in the settings, allowed are exchanges, because a replay is not published"
        )
    address = bus_address(args.bus, settings)
    coins = list(dict.fromkeys(coin for group in args.coins for coin in group))
    keep = {"hours": args.keep_hours, "gigabytes": args.keep_size}
    collectors = Collectors(
        settings,
        address,
        coins=coins or None,
        exchanges=args.exchange,
        shard=ShardChoice(*args.shard),
        name=args.name,
        address=args.ip,
        keep=Retention(**{name: value for name, value in keep.items() if value is not None}),
    )
    try:
        with metrics(collectors.collectors, args.metrics_port):
            async with asyncio.timeout(args.seconds):
                await collectors.run()
    except TimeoutError:
        return Exit.OK
    except FeedError as error:
        raise CommandError(str(error), Exit.NO_VENUE) from None
    return Exit.OK
