"""The report of ``market-feed bus status``: who publishes, who stands by, what is kept, who reads, how far behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from exchanges.bus.client import BusClient, BusError, unix_ns
from exchanges.bus.collectors import shards_of
from exchanges.bus.payloads import read_object
from exchanges.bus.subjects import CLOSED_STREAM, REGISTER_STREAM
from exchanges.venue import BusAddress
from feed.cli.reports.tables import columns

LISTEN = 1.2  # seconds to listen: each collector sends its status within this time


async def report(address: BusAddress) -> str:
    """Ask the bus, listen to its collectors, and return the tables. Raises BusError when it cannot be reached."""
    client = await BusClient.dial(address, "market-feed bus status")
    try:
        heard: dict[tuple[str, str], Mapping[str, Any]] = {}

        async def on_status(message: Any) -> None:
            try:
                details = read_object(message.data).get("details")
            except ValueError:
                return
            if isinstance(details, Mapping) and "publishes" in details:
                heard[message.subject.removesuffix(".status"), str(details.get("collector"))] = details

        await client.subscribe("market.*.*.status", on_status)
        await asyncio.sleep(LISTEN)
        streams = (await client.api("STREAM.LIST", {}))["streams"] or []
        version = client.nats.connected_server_version
        number = f"{version.major}.{version.minor}.{version.patch}"
        parts = [f"{client.shown}: nats-server {number}, {len(streams)} streams", ""]
        parts += [_collectors(heard), "", _streams(streams), "", await _readers(client, streams)]
        if gone := await _without_publisher(client):
            parts += ["", gone]
        return "\n".join(parts)
    finally:
        await client.close()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], none: str) -> str:
    return columns(head, rows) if rows else none


def _collectors(heard: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    rows = []
    for (subject, collector), says in sorted(heard.items()):
        silent, lag = says.get("silent"), says.get("lag")
        rows.append(
            [
                " ".join(subject.split(".")[1:]),
                str(says.get("shard")).replace("-", "/"),
                collector,
                "publishes" if says.get("publishes") else "stands by",
                str(says.get("state")),
                "-" if silent is None else f"{silent:.1f} s",
                "-" if lag is None else f"{lag:.1f} s",
                str(says.get("coins")),
                str(says.get("published")),
                str(says.get("lost")),
            ]
        )
    head = ("exchange", "shard", "collector", "does", "feed", "silent", "lag", "coins", "published", "lost")
    return _table(head, rows, "no collector is there")


def _streams(streams: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for each in streams:
        state, config = each["state"], each["config"]
        age = (unix_ns(each["ts"]) - unix_ns(state["first_ts"])) / 1e9 if state["messages"] else 0.0
        hours = config.get("max_age", 0) / 3.6e12
        size = config.get("max_bytes", -1)
        rows.append(
            [
                str(config["name"]),
                str(state["messages"]),
                f"{state['bytes'] / 1e6:.1f} MB",
                f"{age / 3600:.1f} h",
                f"{hours:g} h" if hours else "-",
                f"{size / 1e9:g} GB" if size > 0 else "-",
            ]
        )
    return _table(("stream", "messages", "size", "reaches back", "keeps", "at most"), rows, "nothing is kept yet")


async def _readers(client: BusClient, streams: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for each in streams:
        name = each["config"]["name"]
        if name in (REGISTER_STREAM, CLOSED_STREAM):
            continue
        listed = (await client.api(f"CONSUMER.LIST.{name}", {}))["consumers"] or []
        # a consumer without a subscriber belongs to a reader that has ended; the server will remove it
        found = [each for each in listed if each.get("push_bound") or "deliver_subject" not in each["config"]]
        behind = [consumer["num_pending"] for consumer in found]
        rows.append([name, str(len(found)), str(max(behind, default=0))])
    return _table(("stream", "readers", "messages behind (slowest)"), rows, "nobody reads")


async def _without_publisher(client: BusClient) -> str:
    """The shards that once had a publisher and have none now."""
    try:
        info = await client.api(f"STREAM.INFO.{REGISTER_STREAM}")
    except BusError:
        return ""
    now, lines = unix_ns(info["ts"]), []
    stored = await client.last(REGISTER_STREAM, ["$KV.*.lease.>", "$KV.*.coins.>"])
    names = sorted({tuple(each.subject.split(".")[3:5]) for each in stored})
    for exchange, market_type in names:
        own = [each for each in stored if each.subject.split(".")[3:5] == [exchange, market_type]]
        for shard in shards_of(own).values():
            if fault := shard.fault(now):
                lines.append(f"{exchange} {market_type} {shard.name.replace('-', '/')}: {fault}")
    return "\n".join(lines)
