"""What collectors say of themselves."""

from __future__ import annotations

from exchanges.bus.client import Stored
from exchanges.bus.collectors import shards_of
from exchanges.bus.payloads import encode
from exchanges.bus.subjects import MarketSubjects

NAMES = MarketSubjects("binance", "spot")
SECOND = 1_000_000_000


def lease(at: int, **says: object) -> Stored:
    return Stored(NAMES.lease("1-2"), encode({"collector": "a", **says}), 1, at)


def test_a_shard_has_its_coins_and_its_publisher() -> None:
    coins = Stored(NAMES.coins("1-2"), encode({"coins": {"BTC": "BTC/USDT"}, "channels": ["trades"]}), 2, 0)
    shard = shards_of([lease(10 * SECOND), coins])["1-2"]
    assert (shard.collector, shard.coins, shard.channels) == ("a", {"BTC": "BTC/USDT"}, ("trades",))
    assert shard.fault(11 * SECOND) == ""
    assert "last heard 5 s ago" in shard.fault(15 * SECOND)


def test_a_shard_without_a_publisher_says_why() -> None:
    coins = Stored(NAMES.coins("1-2"), encode({"coins": {}}), 2, 0)
    assert shards_of([coins])["1-2"].fault(SECOND) == "no collector publishes it"
    assert "has ended" in shards_of([lease(SECOND, released=True)])["1-2"].fault(SECOND)


def test_what_is_no_json_is_ignored() -> None:
    assert not shards_of([Stored(NAMES.lease("1-1"), b"", 1, 1)])["1-1"].heard
