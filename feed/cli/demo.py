"""``market-feed demo``: the whole stack on simulated exchanges in this process, with a fixed series of faults."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from feed.cli.arguments import SIMULATED
from feed.cli.process import CommandError
from feed.cli.process import run as run_process
from feed.settings.schema import Connection, ExchangeConfig, Settings, Staleness

if TYPE_CHECKING:
    from exchanges.simulator import Simulator
    from feed.cli.screen.outputs import View

# seconds before the fault, seconds that it lasts, the faults, what the screen says
FAULTS: tuple[tuple[float, float, tuple[str, ...], str], ...] = (
    (4.0, 3.5, ("stall",), "{primary} sends nothing for a while, though the connection is up"),
    (5.0, 0.0, ("cut",), "every connection to {primary} gets a TCP reset"),
    (6.0, 7.0, ("partition",), "{primary} is out of reach: all connections are reset, and so is each new one"),
    (0.0, 0.0, (), "{primary} can be reached again"),
    (15.0, 5.0, ("blocked-451", "cut"), "{primary} blocks this location with HTTP 451: the feed stays away for long"),
    (0.0, 0.0, (), "that was the last fault: nothing fails any more"),
)
# The times are shorter than the defaults, so that all of FAULTS happen within a minute.
HASTY_CONNECTION = Connection(
    connect_timeout=5.0,
    backoff_initial=0.5,
    backoff_max=2.0,
    stable_after=3.0,
    attempts_before_failover=2,
    failback_after=4.0,
)
HASTY_STALENESS = Staleness(feed_stale_after=1.5, coin_stale_after=60.0, reconnect_after=8.0)


def run(args: argparse.Namespace) -> int:
    """Show the demo until interrupted or for ``--seconds``."""
    return run_process(_demo(args))


async def _demo(args: argparse.Namespace) -> int:
    from exchanges.simulator import Simulator, SimulatorError
    from feed import MarketFeed
    from feed.cli.screen.outputs import screen_view, show

    settings = Settings()
    if args.faults:
        settings.connection, settings.staleness = HASTY_CONNECTION, HASTY_STALENESS
    async with AsyncExitStack() as stack:
        try:
            venues = {name: await stack.enter_async_context(Simulator(0, (name,), args.rate)) for name in SIMULATED}
        except SimulatorError as error:
            raise CommandError(str(error)) from None
        settings.exchanges = [
            ExchangeConfig(name, rest_url=venue.rest_url, ws_url=venue.ws_url) for name, venue in venues.items()
        ]
        feed = MarketFeed(args.coins, settings=settings)
        if args.serve:
            await stack.enter_async_context(_page(feed, settings, args.port))
        view = screen_view(args.log_level)
        script = asyncio.create_task(_script(feed, venues[SIMULATED[0]], view)) if args.faults else None
        try:
            return await show(feed, settings, view, args.seconds, args.timeout)
        finally:
            if script is not None:
                script.cancel()
                await asyncio.wait({script})


@asynccontextmanager
async def _page(feed: Any, settings: Settings, port: int) -> AsyncIterator[None]:
    """Serve the page, and print its address."""
    from feed import FeedError
    from feed.sinks.server.app import Server

    try:
        server = Server(feed, settings, port=port)
        await server.start()
    except FeedError as error:
        raise CommandError(f"{error}; choose another port with --port, 0 for any free one") from None
    print(f"the page is at {server.url}", flush=True)
    try:
        yield
    finally:
        await server.close()


async def _script(feed: Any, simulator: Simulator, view: View) -> None:
    """Once the feed is live, inject one fault after the other into the primary, and print what happens."""
    from exchanges.simulator import parse_fault

    live = asyncio.Event()

    def on_status(event: str, _: Mapping[str, Any]) -> None:
        if event == "connected":
            live.set()

    feed.subscribe_status(on_status)
    await live.wait()
    primary = SIMULATED[0]
    for before, lasts, faults, words in FAULTS:
        await asyncio.sleep(before)
        view.note("demo", words.format(primary=primary))
        with ExitStack() as struck:
            for fault in faults:
                struck.enter_context(simulator[primary].inject(parse_fault(fault).fault))
            await asyncio.sleep(lasts)
