"""Of the books that ccxt builds from frames, only those with a proof are delivered."""

from __future__ import annotations

from typing import Any

import pytest

from exchanges.books.proof import BookRules, ProofKind
from exchanges.ccxt_adapter.books.delivery import BookDelivery
from exchanges.ccxt_adapter.books.verified_books import VerifiedBookKeeper
from exchanges.events import OrderBook
from tests.exchanges.ccxt_adapter.stream.support import spoken_of
from tests.exchanges.support import Heard
from tests.venues.books import coinbase, depth
from tests.venues.books.depth import Depth

MARKETS = {
    "deribit": ("BTC/USDT", "BTC_USDT"),
    "whitebit": ("BTC/USDT", "BTC_USDT"),
    "krakenfutures": ("BTC/USD:USD", "PF_BTCUSD"),
}


def sides(book: OrderBook | Depth) -> tuple[Any, Any]:
    return list(book.bids)[:20], list(book.asks)[:20]


@pytest.mark.parametrize("name", ["deribit", "whitebit", "krakenfutures"])
async def test_a_book_with_a_missing_update_is_not_delivered_until_a_whole_book_comes(name: str) -> None:
    symbol, market_id = MARKETS[name]
    script, first = depth.script(name), depth.first("BTC")
    size = 1.0 if name == "krakenfutures" else None
    async with spoken_of(name, {symbol: market_id}, channels=["books"], contract_size=size) as spoken:
        opening = script.opening(first)
        made = list(depth.changes(first, 6))
        told = [script.change(change) for change in made]
        spoken.say(*opening, *told[0], *told[1])
        assert sides(spoken.heard.books[-1]) == sides(made[1].after)
        count = len(spoken.heard.books)
        spoken.say(*told[3], *told[4])  # the third frame is left out
        assert len(spoken.heard.books) == count
        assert "missing" in spoken.heard.unsynced[-1][1]
        spoken.say(*script.opening(made[4].after))
        assert sides(spoken.heard.books[-1]) == sides(made[4].after)
        assert spoken.heard.bad == []


async def test_books_that_coinbase_sends_under_usd_names_are_delivered_for_usdc_markets() -> None:
    ids = {"SOL/USDC": "SOL-USDC", "SOL/USD": "SOL-USD"}
    async with spoken_of("coinbase", ids, wanted=["SOL/USDC"], channels=["books"]) as spoken:
        first = depth.first("SOL")
        [change] = depth.changes(first, 1)
        frames = coinbase.opening(first) + coinbase.change(change)
        spoken.say(*({**frame, "sequence_num": number} for number, frame in enumerate(frames)))
        assert sides(spoken.heard.books[-1]) == sides(change.after)
        assert {(book.coin, book.market) for book in spoken.heard.books} == {("SOL", "SOL/USDC")}


def keeper(heard: Heard, window: bool = False) -> VerifiedBookKeeper:
    delivery = BookDelivery("kucoin", heard, 4, lambda coin: None)
    delivery.add("BTC/USDT", "BTC", 1, 1.0)
    rules = BookRules(ProofKind.PLAUSIBILITY, window=window)
    kept = VerifiedBookKeeper(rules, delivery, lambda symbol: None, lambda symbol: None)
    kept.add({"BTC-USDT": "BTC/USDT"})
    return kept


def book(*bids: float, asks: tuple[float, ...] = (101.0, 102.0, 103.0, 104.0)) -> dict[str, Any]:
    rows = {"bids": [[price, 1.0] for price in bids], "asks": [[price, 1.0] for price in asks]}
    return {"symbol": "BTC/USDT", "timestamp": 1, "nonce": 1, **rows}


async def test_levels_outside_a_rest_snapshots_range_are_not_delivered_even_if_updates_name_them() -> None:
    heard = Heard()
    kept = keeper(heard)
    kept.on_snapshot("BTC/USDT", book(100.0, 99.0, 98.0, 97.0))
    # the level at 50 came with an update; levels between 97 and 50 are unknown
    kept.on_book("BTC/USDT", book(100.0, 98.0, 97.0, 50.0), 1)
    assert [price for price, _ in heard.books[-1].bids] == [100.0, 98.0, 97.0]


async def test_a_book_is_renewed_when_less_than_half_of_its_levels_are_proven() -> None:
    heard = Heard()
    kept = keeper(heard)
    kept.on_snapshot("BTC/USDT", book(100.0, 99.0, 98.0, 97.0))
    kept.on_book("BTC/USDT", book(100.0, 99.0, 98.0, 97.0), 1)
    kept.on_book("BTC/USDT", book(98.0, 97.0, 50.0, 49.0), 2)
    assert [price for price, _ in heard.books[-1].bids] == [98.0, 97.0]
    kept.on_book("BTC/USDT", book(97.0, 50.0, 49.0, 48.0), 3)
    assert len(heard.books) == 2
    assert "leave the range" in heard.unsynced[-1][1]


async def test_all_levels_of_a_whole_book_are_proven() -> None:
    heard = Heard()
    kept = keeper(heard, window=True)
    kept.on_book("BTC/USDT", book(100.0, 99.0, 98.0, 97.0), 1)
    kept.on_book("BTC/USDT", book(50.0, 49.0, 48.0, 47.0), 2)
    assert [price for price, _ in heard.books[-1].bids] == [50.0, 49.0, 48.0, 47.0]
