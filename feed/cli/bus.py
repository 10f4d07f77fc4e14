"""``market-feed bus``: runs the bus for collectors and readers on this machine, and shows its status."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from feed.cli.process import CommandError, Exit, start_log
from feed.cli.process import run as run_process
from feed.errors import FeedError


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted or for ``--seconds``, or print the status."""
    return run_process(_status(args) if args.what == "status" else _serve(args))


async def _serve(args: argparse.Namespace) -> int:
    from feed.sinks.bus.server import BusServer

    start_log(args.log_level or "INFO")
    server = BusServer(args.port, None if args.dir is None else Path(args.dir), args.max_size)
    try:
        await server.start()
    except FeedError as error:
        raise CommandError(str(error), Exit.FAILED) from None
    try:
        print("# Save this line in settings.yaml, or: export MARKET_FEED_BUS=" + server.url)
        print(f"bus: {server.url}", flush=True)
        async with asyncio.timeout(args.seconds):
            said = await server.wait()
        raise CommandError(f"nats-server has ended: {said}", Exit.FAILED)
    except TimeoutError:
        return Exit.OK
    finally:
        await server.stop()


async def _status(args: argparse.Namespace) -> int:
    from exchanges.bus.client import BusError
    from feed.cli.collect import bus_address
    from feed.cli.reports.bus_report import report
    from feed.settings.file import load_settings

    start_log(args.log_level or "WARNING")
    try:
        print(await report(bus_address(args.bus, load_settings(args.settings))))
    except BusError as error:
        raise CommandError(error.reason, Exit.NO_VENUE) from None
    return Exit.OK
