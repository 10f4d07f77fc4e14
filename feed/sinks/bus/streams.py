"""Makes the streams of the bus; decides how many hours and gigabytes of events they keep by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exchanges.bus.client import BusClient, BusError
from exchanges.bus.subjects import CLOSED_STREAM, REGISTER, REGISTER_STREAM, MarketSubjects

NS = 1_000_000_000
DUPLICATES = 60  # seconds for which the bus remembers the ids of messages: longer than any takeover
CANDLES_EACH = 2_000  # closed candles kept of each coin and timeframe
EXISTS = {10058, 10065}  # NATS's codes for: a stream with this name, or with these subjects, exists already


@dataclass(frozen=True, slots=True)
class Retention:
    """How much the bus keeps of each exchange: the last ``hours``, but at most ``gigabytes``."""

    hours: float = 24.0
    gigabytes: float = 2.0


async def make_streams(client: BusClient, subjects: MarketSubjects, keep: Retention) -> None:
    """Make the streams that do not exist yet; existing ones are not changed. Raises BusError."""
    size = int(keep.gigabytes * 1e9)
    await _make(client, subjects.stream, [subjects.kept], max_age=int(keep.hours * 3600) * NS, max_bytes=size)
    await _make(client, CLOSED_STREAM, ["candles.>"], max_msgs_per_subject=CANDLES_EACH)
    await _make(
        client, REGISTER_STREAM, [f"$KV.{REGISTER}.>"], max_msgs_per_subject=1, allow_rollup_hdrs=True, deny_delete=True
    )


async def _make(client: BusClient, name: str, subjects: list[str], **limits: Any) -> None:
    config = {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "allow_direct": True,
        "duplicate_window": DUPLICATES * NS,
        "num_replicas": 1,
        **limits,
    }
    try:
        await client.api(f"STREAM.CREATE.{name}", config)
    except BusError as error:
        if error.code not in EXISTS:
            raise BusError(f"the stream {name} could not be made: {error.reason}", error.code) from None
