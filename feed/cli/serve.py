"""``market-feed serve``: serves one feed to programs in any language; reads the file with the token."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from feed.cli.process import CommandError, Exit, start_log
from feed.cli.process import run as run_process
from feed.cli.reports.metrics import metrics
from feed.errors import FeedError
from feed.settings.file import beginning, load_settings

if TYPE_CHECKING:
    from feed import MarketFeed


TOKEN_FILE = 4096  # the most bytes of the file with the token


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted or for ``--seconds``."""
    return run_process(_serve(args))


def token_of(file: str | None) -> str | None:
    """Read the token from a file; raises CommandError if the token is not valid."""
    if file is None:
        return None
    from feed.sinks.server.access import TOKEN

    try:
        token = beginning(file, TOKEN_FILE).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--token-file {file}: {getattr(error, 'strerror', None) or 'found no text'}") from None
    if not TOKEN.match(token):
        raise CommandError(f"--token-file {file}: allowed are 16 to 256 of the characters A-Z a-z 0-9 . _ ~ -")
    return token


async def _serve(args: argparse.Namespace) -> int:
    from feed import MarketFeed
    from feed.sinks.server.app import Server

    token = token_of(args.token_file)
    settings = load_settings(args.settings)
    coins = list(dict.fromkeys(coin for group in args.coins for coin in group))
    exchange = args.exchange[0] if args.exchange and len(args.exchange) == 1 else args.exchange
    start_log(args.log_level or "WARNING")
    feed = MarketFeed(coins or None, exchange, settings=settings)
    ended = asyncio.Event()

    def on_status(event: str, details: dict[str, Any]) -> None:
        if event == "closed":
            ended.set()

    feed.subscribe_status(on_status)
    try:
        server = Server(feed, settings, host=args.host, port=args.port, token=token, origins=args.origin)
        await server.start()
    except FeedError as error:
        raise CommandError(f"{error}; see --host, --port and --token-file") from None
    try:
        with metrics(feed, args.metrics_port):
            print(f"serving at {server.url}", flush=True)
            return await _live(feed, ended, args.seconds, args.timeout)
    finally:
        await server.close()
        await feed.disconnect()


async def _live(feed: MarketFeed, ended: asyncio.Event, seconds: float | None, timeout: float) -> int:
    """Wait until ``seconds`` of live data are over; returns the exit code, FAILED if the feed ends earlier."""
    await feed.connect(timeout=timeout)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return Exit.OK
    return Exit.FAILED
