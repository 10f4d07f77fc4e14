"""Proven books are delivered with sizes in the base currency, and only if their best levels have changed."""

from __future__ import annotations

import pytest

from exchanges.ccxt_adapter.books.delivery import BookDelivery
from tests.exchanges.support import Heard

BIDS, ASKS = [(50_000.0, 25.0), (49_000.0, 49.0)], [(50_500.0, 101.0)]


@pytest.mark.parametrize(
    ("scale", "inverse", "bids"),
    [
        (1.0, False, BIDS),
        (0.01, False, [(50_000.0, 0.25), (49_000.0, 0.49)]),
        (100.0, True, [(50_000.0, 0.05), (49_000.0, 0.1)]),  # contracts of 100 USD each, margined in the coin
    ],
)
def test_sizes_are_delivered_in_the_base_currency(scale: float, inverse: bool, bids: list[tuple[float, float]]) -> None:
    heard = Heard()
    delivery = BookDelivery("binancecoinm", heard, 20, lambda coin: None)
    delivery.add("BTC/USD:BTC", "BTC", 1, scale, inverse=inverse)
    delivery.tell("BTC/USD:BTC", BIDS, ASKS, 1, 2, 3)
    (book,) = heard.books
    assert book.bids == bids
    assert book.asks[0][0] == ASKS[0][0]


def test_a_state_with_the_same_best_levels_is_not_delivered_again() -> None:
    heard = Heard()
    delivery = BookDelivery("binance", heard, 20, lambda coin: None)
    delivery.add("BTC/USDT", "BTC", 1, 1.0)
    # the second state has the same levels as the first
    for sequence, bids in enumerate((BIDS, list(BIDS), BIDS[:1])):
        delivery.tell("BTC/USDT", bids, ASKS, 1, 2, sequence)
    assert [book.sequence for book in heard.books] == [0, 2]
