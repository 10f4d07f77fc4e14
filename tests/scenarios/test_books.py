"""An exchange refuses order books from the start: the program gets the reason, and an event when the books arrive."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from feed import StaleDataError
from feed.market_data import order_books
from feed.settings import Staleness
from tests.scenarios.support import feeding, only, quick, simulated


async def test_the_reason_for_a_refused_first_snapshot_is_reported_until_the_snapshot_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(order_books, "TOLD_AFTER", 1.0)
    async with simulated("binance", "books refused") as simulator:
        settings = quick(simulator, channels=["trades", "books"], staleness=Staleness())
        with ExitStack() as faults:
            faults.enter_context(only(simulator).books_refused(503, "BTC"))
            async with feeding(settings) as (feed, got):
                await got.until(lambda: any(told["coin"] == "BTC" for told in got.details("book_unsynced")))
                (told,) = [told for told in got.details("book_unsynced") if told["coin"] == "BTC"]
                assert told["exchange"] == "binance"
                assert "HTTP 503" in told["reason"]
                with pytest.raises(StaleDataError, match="HTTP 503"):
                    feed.require_fresh_book("BTC")
                await got.until(lambda: feed.get_book("ETH") is not None)
                assert feed.get_book("BTC") is None
                faults.close()
                await got.until(lambda: any(told["coin"] == "BTC" for told in got.details("book_synced")))
                assert feed.require_fresh_book("BTC").bids
