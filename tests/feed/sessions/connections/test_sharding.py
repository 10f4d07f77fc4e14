"""How coins are spread over connections."""

from __future__ import annotations

import random

import pytest

from feed.sessions.connections.sharding import allot


def loads(weights: dict[str, int], parts: list[list[str]]) -> list[int]:
    return [sum(weights[coin] for coin in part) for part in parts]


def test_without_a_limit_one_connection_carries_all_coins() -> None:
    coins = {f"C{n}": 3 for n in range(1000)}
    assert allot(coins, [], None) == [list(coins)]
    assert allot({**coins, "NEW": 3}, [list(coins)], None) == [[*coins, "NEW"]]


def test_a_thousand_coins_take_as_few_connections_as_the_limit_allows() -> None:
    coins = {f"C{n}": 3 for n in range(1000)}
    assert [len(part) for part in allot(coins, [], 1024)] == [341, 341, 318]


def test_a_new_coin_is_added_to_a_connection_with_room() -> None:
    assert allot(dict.fromkeys("ABCDE", 1), [["A", "B"], ["C"]], 2) == [["A", "B"], ["C", "D"], ["E"]]


def test_an_empty_connection_keeps_its_place_and_is_filled_first() -> None:
    assert allot({"C": 1}, [["A", "B"], ["C"]], 2) == [[], ["C"]]
    assert allot({"C": 1, "D": 1}, [["A", "B"], ["C"]], 2) == [["D"], ["C"]]


def test_coins_that_do_not_fit_any_more_move_and_the_other_coins_stay() -> None:
    """More channels were subscribed, so each coin needs twice as many streams."""
    assert allot(dict.fromkeys("ABCD", 2), [["A", "B", "C"], ["D"]], 4) == [["A", "B"], ["D", "C"]]


def test_a_coin_with_more_streams_than_the_limit_has_a_connection_alone() -> None:
    assert allot({"A": 9, "B": 1}, [], 4) == [["A"], ["B"]]


@pytest.mark.parametrize("seed", range(50))
def test_every_coin_is_on_one_connection_with_room_and_stays_there(seed: int) -> None:
    """This holds for any additions and removals of coins."""
    draw = random.Random(seed)
    weights: dict[str, int] = {}
    parts: list[list[str]] = []
    for step in range(30):
        for coin in draw.sample(list(weights), min(len(weights), draw.randint(0, 3))):
            del weights[coin]
        weights |= {f"{step}-{n}": draw.randint(1, 5) for n in range(draw.randint(0, 6))}
        before = {coin: place for place, part in enumerate(parts) for coin in part if coin in weights}
        parts = allot(weights, parts, 10)
        after = {coin: place for place, part in enumerate(parts) for coin in part}
        assert sorted(coin for part in parts for coin in part) == sorted(weights)
        assert max(loads(weights, parts), default=0) <= 10
        assert before.items() <= after.items()
