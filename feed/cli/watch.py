"""``market-feed watch``: runs a feed of the named coins, and shows it as a table, as lines or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from feed.cli.process import run as run_process
from feed.cli.process import start_log
from feed.cli.reports.metrics import metrics
from feed.errors import SettingsError
from feed.settings.file import bus_of, load_settings


def run(args: argparse.Namespace) -> int:
    """Watch until interrupted or for ``--seconds``."""
    return run_process(_watch(args))


async def _watch(args: argparse.Namespace) -> int:
    from feed import MarketFeed
    from feed.cli.screen.outputs import JsonView, screen_view, show

    settings = load_settings(args.settings)
    if args.bus is not None:
        settings.bus = bus_of(args.bus, "--bus", settings.bus)
    coins = list(dict.fromkeys(coin for group in args.coins for coin in group))
    book = _book_coin(args.book, coins)
    exchange = args.exchange[0] if args.exchange and len(args.exchange) == 1 else args.exchange
    feed = MarketFeed(coins or None, exchange, settings=settings)
    with metrics(feed, args.metrics_port):
        if args.json:
            start_log(args.log_level or "INFO")
            return await show(feed, settings, JsonView(books_of=book), args.seconds, args.timeout)
        return await show(feed, settings, screen_view(args.log_level, book), args.seconds, args.timeout)


def _book_coin(wanted: bool, coins: Sequence[str]) -> str | None:
    """The coin whose order book is shown. Raises SettingsError if none is named."""
    if not wanted:
        return None
    if not coins:
        raise SettingsError(["--book shows the order book of the first coin named, but found none: watch BTC --book"])
    return coins[0]
