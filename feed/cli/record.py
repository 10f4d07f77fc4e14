"""``market-feed record``: writes what a feed delivers into a folder of Parquet files."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from feed.cli.process import CommandError, Exit, start_log
from feed.cli.process import run as run_process
from feed.cli.reports.metrics import metrics
from feed.errors import FeedError
from feed.settings.file import load_settings
from feed.settings.validation import check

if TYPE_CHECKING:
    from feed.sinks.recorder.recorder import Recorder

EVERY = 10.0  # seconds between two lines about what was recorded


def run(args: argparse.Namespace) -> int:
    """Record until interrupted or for ``--seconds``."""
    return run_process(_record(args))


async def _record(args: argparse.Namespace) -> int:
    from feed import MarketFeed

    try:
        from feed import Recorder
    except ImportError as error:
        raise CommandError(str(error)) from None
    settings = load_settings(args.settings)
    if settings.recording is not None:
        raise CommandError(
            "recording: found one in the settings, allowed are exchanges, because a replay is not recorded"
        )
    if args.channels is not None:
        settings.channels = args.channels
        check(settings, source="--channels")
    coins = list(dict.fromkeys(coin for group in args.coins for coin in group))
    exchange = args.exchange[0] if args.exchange and len(args.exchange) == 1 else args.exchange
    start_log(args.log_level or "WARNING")
    feed = MarketFeed(coins or None, exchange, settings=settings)
    given = {} if args.flush_seconds is None else {"flush_seconds": args.flush_seconds}
    recorder = Recorder(feed, args.folder, book_depth=settings.book_depth, **given)
    try:
        with metrics(feed, args.metrics_port, recorder):
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(recorder)
                except FeedError as error:
                    raise CommandError(str(error)) from None
                stack.push_async_callback(feed.disconnect)
                await feed.connect(timeout=args.timeout)
                names = ", ".join(feed.channels)
                print(f"recording {names} of {len(feed.coin_configs)} coins in {args.folder}", flush=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(args.seconds):
                        await _tell(recorder)
    finally:
        status = recorder.status
        if status.written:
            print(f"recorded {status.written:,} events in {args.folder}", flush=True)
        if status.dropped:
            lost = f"{status.dropped:,} events were dropped: market-feed recording info lists the holes"
            print(lost, file=sys.stderr)
    return Exit.OK


async def _tell(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(EVERY)
        status = recorder.status
        trouble = f", {status.waiting:,} not written yet: {status.failure}" if status.failure else ""
        print(f"recorded {status.written:,} events{trouble}", flush=True)
