"""``market-feed simulate``: runs the simulated exchange alone, for any client in any language."""

from __future__ import annotations

import argparse
import asyncio

from feed.cli.process import CommandError, Exit, start_log
from feed.cli.process import run as run_process

_OPTIONS = ("port", "venues", "markets", "rate", "seed", "replay", "speed")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted or for ``--seconds``."""
    return run_process(_simulate(args))


async def _simulate(args: argparse.Namespace) -> int:
    from exchanges.simulator import Simulator, SimulatorError

    start_log(args.log_level or "INFO")
    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    try:
        async with Simulator(**given, faults=args.fault) as simulator:
            print("# Save these lines as settings.yaml, then: market-feed watch")
            print(simulator.settings_yaml().rstrip(), flush=True)
            if args.seconds is None:
                await asyncio.get_running_loop().create_future()
            else:
                await asyncio.sleep(args.seconds)
    except SimulatorError as error:
        raise CommandError(str(error)) from None
    return Exit.OK
