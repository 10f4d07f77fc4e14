"""Every coin belongs to exactly one shard, the same in every process."""

from __future__ import annotations

import pytest

from exchanges.bus.shards import ShardChoice, shard_of

COINS = [f"C{number}" for number in range(1000)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_every_coin_has_one_shard_and_the_shards_have_similar_sizes(count: int) -> None:
    parts = [ShardChoice(index, count).of(COINS) for index in range(1, count + 1)]
    assert sorted(coin for part in parts for coin in part) == sorted(COINS)
    assert max(map(len, parts)) < 1.25 * len(COINS) / count


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_when_a_shard_is_added_only_the_coins_that_it_gets_move(count: int) -> None:
    moved = [coin for coin in COINS if shard_of(coin, count) != shard_of(coin, count + 1)]
    assert all(shard_of(coin, count + 1) == count + 1 for coin in moved)
    assert len(moved) < 1.3 * len(COINS) / (count + 1)


def test_a_coins_shard_is_the_same_in_every_process_and_version() -> None:
    assert [shard_of(coin, 4) for coin in ("BTC", "ETH", "SOL", "DOGE")] == [1, 4, 2, 1]
