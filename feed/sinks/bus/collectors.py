"""Collects all exchanges of the settings, or the named ones: each with a collector of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Sequence
from secrets import token_hex

from exchanges.bus.shards import ShardChoice
from exchanges.venue import BusAddress
from feed.errors import SettingsError
from feed.settings.arguments import coins_of, order_of
from feed.settings.schema import Settings
from feed.sinks.bus.collector import Collector
from feed.sinks.bus.streams import Retention


class Collectors:
    """Carries every named exchange, or all of the settings, and publishes the coins of one shard.

    ``name`` is shown to readers; a part that is unique to this run is added. ``address`` is the same for all
    collectors behind one IP, which share the exchanges' limits; None: the collectors of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        bus: BusAddress,
        *,
        coins: Iterable[str] | None = None,
        exchanges: Sequence[str] | None = None,
        shard: ShardChoice | None = None,
        name: str | None = None,
        address: str | None = None,
        keep: Retention | None = None,
    ) -> None:
        host = socket.gethostname()
        shard = shard or ShardChoice()
        self.name = f"{name or f'{host}-{os.getpid()}'}-{token_hex(2)}"
        configs = coins_of(coins, settings)
        own = set(shard.of(config.symbol for config in configs))
        some = [config for config in configs if config.symbol in own]
        if not some:
            raise SettingsError([f"--shard: found {shard}, to which none of the {len(configs)} coins belongs"])
        self.collectors = [
            Collector(
                config,
                settings,
                some,
                bus,
                name=self.name,
                shard=shard,
                address=address or host,
                keep=keep or Retention(),
            )
            for config in order_of(list(exchanges) if exchanges else None, settings)
        ]

    async def run(self) -> None:
        """Collect until cancelled, and hand over then; raises FeedError when no exchange can be collected."""
        tasks = [asyncio.create_task(each.run(), name=f"collector of {each.exchange}") for each in self.collectors]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                if not task.cancelling():
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
