"""The bus tells which collector publishes a shard, and whether events come late."""

from __future__ import annotations

from exchanges.bus.client import Stored
from exchanges.bus.collectors import Lateness, shards_of
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


def test_the_fault_of_a_shard_without_a_publisher_gives_the_reason() -> None:
    coins = Stored(NAMES.coins("1-2"), encode({"coins": {}}), 2, 0)
    assert shards_of([coins])["1-2"].fault(SECOND) == "no collector publishes it"
    assert "has ended" in shards_of([lease(SECOND, released=True)])["1-2"].fault(SECOND)


def test_a_shard_whose_publisher_has_not_reported_its_coins_is_not_available_yet() -> None:
    assert shards_of([lease(SECOND)])["1-2"].fault(2 * SECOND) == "its collector a has only just started"
    coins = Stored(NAMES.coins("1-2"), encode({"coins": {}, "awaited": ["BTC"]}), 2, 0)
    shard = shards_of([lease(SECOND), coins])["1-2"]
    assert (shard.fault(2 * SECOND), shard.awaited) == ("", frozenset({"BTC"}))


def test_invalid_json_is_ignored() -> None:
    assert not shards_of([Stored(NAMES.lease("1-1"), b"", 1, 1)])["1-1"].heard


def test_an_event_whose_way_to_the_bus_took_longer_than_normal_is_late() -> None:
    lateness = Lateness()
    assert not lateness.is_late(5 * SECOND, 0.0)  # the least delay so far counts as the clocks' difference
    assert not lateness.is_late(4 * SECOND, 0.1)
    assert lateness.is_late(int(5.5 * SECOND), 0.2)
    assert not lateness.is_late(int(4.5 * SECOND), 0.3)


def test_events_that_waited_for_the_bus_are_late_until_the_delay_is_normal_again() -> None:
    lateness = Lateness()
    lateness.is_late(0, 0.0)
    found = [lateness.is_late(int((10 - at) * SECOND), at) for at in (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 8.9, 9.1)]
    assert found == [True] * 7 + [False]


def test_after_a_step_of_the_clock_events_are_late_for_a_few_seconds_only() -> None:
    lateness = Lateness()
    lateness.is_late(0, 0.0)
    late = [lateness.is_late(3600 * SECOND + number, number / 10) for number in range(100)]
    assert late[0]
    assert not any(late[35:])


def test_for_another_collector_the_normal_delay_is_measured_again() -> None:
    lateness = Lateness()
    lateness.is_late(0, 0.0)
    lateness.forget()
    assert not lateness.is_late(9 * SECOND, 0.1)
