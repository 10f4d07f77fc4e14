"""``market-feed replay``: plays a recording, and shows it as ``watch`` shows a live feed."""

from __future__ import annotations

import argparse

from feed.cli.process import CommandError, start_log
from feed.cli.process import run as run_process
from feed.settings.schema import Settings


def run(args: argparse.Namespace) -> int:
    """Play until the recording's end, or until interrupted, or for ``--seconds``."""
    return run_process(_replay(args))


async def _replay(args: argparse.Namespace) -> int:
    from feed import MarketFeed
    from feed.cli.screen.outputs import JsonView, screen_view, show

    coins = list(dict.fromkeys(coin for group in args.coins for coin in group))
    start, end = (int(text) if text and text.isdecimal() else text for text in (args.start, args.end))
    try:
        feed = MarketFeed.from_recording(
            args.folder, coins or None, args.exchange, speed=args.speed, start=start, end=end, settings=Settings()
        )
    except ImportError as error:
        raise CommandError(str(error)) from None
    settings = Settings(channels=list(feed.channels))
    if args.json:
        start_log(args.log_level or "INFO")
        return await show(feed, settings, JsonView(), args.seconds, args.timeout)
    return await show(feed, settings, screen_view(args.log_level), args.seconds, args.timeout)
