"""A replay delivers the recorded events with every field, and repeats the recorded outages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from feed import MarketFeed, PriceTick, StaleDataError
from tests.feed.replay.support import SECOND, START, priced, record, status, trade
from tests.recordings import Delivered, played, until


def candle(coin: str, minute: int, close: float, *, closed: bool = True, timeframe: str = "1m") -> Candle:
    opened = START // 10**6 + minute * 60_000
    received = (opened + 60_000) * 10**6
    return Candle(coin, timeframe, opened, close, close, close, close, 1.0, closed, "one", received, f"{coin}/USDT")


async def test_only_the_chosen_coins_are_replayed(minute: Path) -> None:
    assert {each.coin for each in (await played(minute, "eth")).of(TradeEvent)} == {"ETH"}
    feed = MarketFeed.from_recording(minute, ["BTC"], speed=None)
    coins: list[str] = []

    async def on_trade(each: TradeEvent) -> None:
        coins.append(each.coin)
        if len(coins) == 10:
            await feed.add_coins("ETH")

    feed.subscribe_trades(on_trade)
    async with feed:
        await feed.wait_closed()
    assert set(coins[:10]) == {"BTC"}
    assert "ETH" in coins[10:]


async def test_several_recordings_are_merged_by_time_of_receipt(tmp_path: Path) -> None:
    ours = [trade("BTC", n / 10, 100.0 + n, "one") for n in range(0, 100, 2)]
    theirs = [trade("BTC", n / 10, 100.0 + n, "two") for n in range(1, 100, 2)]
    record(tmp_path / "a", priced(ours))
    record(tmp_path / "b", priced(theirs))
    both = await played([tmp_path / "a", tmp_path / "b"])
    assert [each.price for each in both.of(TradeEvent)] == [100.0 + n for n in range(100)]
    assert len(both.of(PriceTick)) == 100
    again = await played([tmp_path / "a", tmp_path / "b"])
    assert again.shown == both.shown
    alone = await played([tmp_path / "a", tmp_path / "b"], exchange="two")
    assert alone.of(TradeEvent) == theirs


async def test_recorded_outages_are_repeated(tmp_path: Path) -> None:
    """At each moment the state, the breaker and freshness are the same as in the live feed."""
    record(tmp_path, [
        status("connecting", 0, "connecting"),
        *priced([trade("BTC", 0.5, 100.0)]),
        status("connected", 0.6, "live"),
        status("feed_stale", 6.0, "stale", seconds=5.5),
        status("disconnected", 11.0, "reconnecting", reason="no data"),
        status("circuit_open", 11.0, "reconnecting", reason="too much", until=0, tradable=False),
        status("reconnecting", 11.0, "reconnecting", attempt=1, delay=1.0, tradable=False),
        status("connected", 13.0, "live", tradable=False),
        *priced([trade("BTC", 13.1, 101.0)]),
        status("circuit_half_open", 71.0, "live"),
        *priced([trade("BTC", 72.0, 102.0)]),
        status("closed", 73.0, "closed"),
    ])  # fmt: skip
    feed = MarketFeed.from_recording(tmp_path, speed=None)
    told: list[Any] = []

    def on_status(event: str, details: dict[str, Any]) -> None:
        told.append((event, feed.status.state.value, feed.tradable, round(feed.now() - START / 1e9, 3)))

    feed.subscribe_status(on_status)
    ages: list[str] = []

    async def watch() -> None:
        for _ in range(14):
            await feed.sleep(1.0)
            try:
                feed.require_fresh("BTC", max_age=3)
                ages.append("fresh")
            except StaleDataError as error:
                ages.append("open" if "breaker" in str(error) else "old")

    async with feed:
        watching = asyncio.create_task(watch())
        await feed.wait_closed()
        await watching
    assert told == [
        ("connecting", "connecting", True, 0.0),
        ("connected", "live", True, 0.6),
        ("feed_stale", "stale", True, 6.0),
        ("disconnected", "reconnecting", True, 11.0),
        ("circuit_open", "reconnecting", False, 11.0),
        ("reconnecting", "reconnecting", False, 11.0),
        ("connected", "live", False, 13.0),
        ("circuit_half_open", "live", True, 71.0),
        ("closed", "closed", True, 73.0),
    ]
    assert ages == [*["fresh"] * 3, *["old"] * 10, "open"]


async def test_a_hole_of_the_recording_is_an_outage(tmp_path: Path) -> None:
    record(tmp_path, priced([trade("BTC", 1.0, 100.0)]))
    record(tmp_path, priced([trade("BTC", 3601.0, 101.0)]), at=3600.0)
    delivered = await played(tmp_path)
    assert delivered.status == ["connecting", "connected", "disconnected", "connecting", "connected", "closed"]
    reason = next(details["reason"] for event, details in delivered.of(tuple) if event == "disconnected")
    assert reason == "the recording has a hole: nothing was recorded"


async def test_replayed_books_are_the_same_at_every_depth(tmp_path: Path) -> None:
    received = START
    books = []
    for n in range(200):
        received += SECOND
        bids = [(100.0 - level, 1.0 + (n + level) % 3) for level in range(n % 7, 20)]
        asks = [(101.0 + level, 2.0 + (n * level) % 5) for level in range(20)]
        books.append(OrderBook("BTC", bids, asks, received // 10**6, "one", received, n, "BTC/USDT"))
    record(tmp_path, books, ["books"])
    delivered = await played(tmp_path)
    assert delivered.of(OrderBook) == books
    feed = MarketFeed.from_recording(tmp_path, speed=None, start=START // 10**6 + 100_000)
    best: list[OrderBook] = []
    feed.subscribe_books(best.append, depth=1, on_full="drop_oldest")
    async with feed:
        await until(lambda: bool(best))
        await feed.wait_closed()
    expected = [each for each in books if each.received_at >= START + 100 * SECOND]
    changed = [each for before, each in zip([None, *expected], expected, strict=False)
               if before is None or (before.bids[0], before.asks[0]) != (each.bids[0], each.asks[0])]  # fmt: skip
    assert [(each.bids, each.asks) for each in best] == [([each.bids[0]], [each.asks[0]]) for each in changed]


async def test_replayed_quotes_tickers_and_candles_have_every_field(tmp_path: Path) -> None:
    at = START + SECOND
    events = [
        Quote("BTC", 1.0, 2.0, 3.0, 4.0, 0, "one", at, "BTC/USDT"),
        Ticker("BTC", 2.0, 0, None, -1.5, None, None, 3.0, 4.0, "one", at, "BTC/USDT"),
        Ticker("ETH", 2.0, 5, 7.0, None, 1.0, 1.0, 3.0, 4.0, "one", at, "ETH/USDT"),
        candle("BTC", 0, 5.0, closed=False),
        candle("BTC", 0, 6.0),
        TradeEvent("BTC", 1e-9, 1e9, True, 1, "one", "", at, True, "BTC/USDT:USDT"),
        TradeEvent("币安人生", 0.1, 1.0, True, 1, "one", "é", at, False, "币安人生/USDT"),
    ]
    record(tmp_path, events, ["trades", "ticker", "candles", "quotes"])
    delivered = await played(tmp_path)
    assert [each for each in delivered.events if not isinstance(each, tuple)] == events


async def test_a_tick_that_cannot_be_made_from_other_events_is_replayed_unchanged(tmp_path: Path) -> None:
    one, two = trade("BTC", 1.0, 100.0), trade("BTC", 2.0, 101.0)
    alone = PriceTick("BTC", 99.0, 5, 1.0, 2.0, "one", START + SECOND, "BTC/USDT")
    other_day = PriceTick("BTC", 101.0, two.timestamp, 7.0, 2.0, "one", two.received_at, "BTC/USDT")
    events = [one, alone, two, other_day]
    record(tmp_path, events)
    delivered = await played(tmp_path)
    assert [each for each in delivered.events if not isinstance(each, tuple)] == events


async def test_volatility_and_history_have_the_values_of_the_recorded_time(tmp_path: Path) -> None:
    closes = [100.0 + (n * 7 % 11) for n in range(120)]
    record(tmp_path, [candle("BTC", n, close) for n, close in enumerate(closes)], ["candles"])
    feed = MarketFeed.from_recording(tmp_path, speed=None)
    known: list[float | None] = []
    feed.subscribe_candles(lambda each: known.append(feed.volatility("BTC", 60)))
    async with feed:
        await feed.wait_closed()
    assert known[58] is None
    assert known[59] is not None
    later = MarketFeed.from_recording(tmp_path, speed=None, start=START // 10**6 + 90 * 60_000)
    first: list[float | None] = []
    past: list[float] = []

    async def on_candle(each: Candle) -> None:
        if not first:
            first.append(later.volatility("BTC", 60))
            past.extend(candle.close for candle in await later.candles_history("BTC", "1m", 5))

    later.subscribe_candles(on_candle)
    async with later:
        await later.wait_closed()
    assert first == [known[89]]
    assert past == closes[85:90]


async def test_channels_that_were_not_recorded_are_reported(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, ["BTC"], speed=None)
    delivered = Delivered(feed)
    feed.subscribe_quotes(print)
    async with feed:
        await feed.wait_closed()
    told = [details for event, details in delivered.of(tuple) if event == "coin_unavailable"]
    assert [(each["coin"], each["channel"], each["reason"]) for each in told] == [
        ("BTC", "quotes", "the recording has no quotes")
    ]
