"""Replays over real files: order, clock, pace, slow consumers, holes, and wrong arguments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchanges.events import Candle, OrderBook, Quote, Ticker, TradeEvent
from feed import FeedError, MarketFeed, PriceTick, Settings, SettingsError, StaleDataError
from feed.settings import RecordingConfig
from feed.sinks.recorder.pending_rows import Status
from feed.sinks.recorder.writer import Plan, Writer
from tests.recordings import Delivered, played, until

START = 1_764_288_000 * 10**9  # 2025-11-28T00:00:00Z, ns
SECOND = 10**9
STATE = {"exchange": "one", "reconnect_count": 0, "failover_count": 0, "errors": 0, "tradable": True}


def trade(coin: str, at: float, price: float, exchange: str = "one") -> TradeEvent:
    received = START + int(at * SECOND)
    return TradeEvent(
        coin, price, 1.0, False, received // 10**6, exchange, f"{coin}{at}", received, market=f"{coin}/USDT"
    )


def tick(of: TradeEvent) -> PriceTick:
    nan = float("nan")
    return PriceTick(of.coin, of.price, of.timestamp, nan, nan, of.exchange, of.received_at, of.market)


def priced(trades: Sequence[TradeEvent]) -> list[Any]:
    return [event for each in trades for event in (each, tick(each))]


def candle(coin: str, minute: int, close: float, *, closed: bool = True, timeframe: str = "1m") -> Candle:
    opened = START // 10**6 + minute * 60_000
    received = (opened + 60_000) * 10**6
    return Candle(coin, timeframe, opened, close, close, close, close, 1.0, closed, "one", received, f"{coin}/USDT")


def status(event: str, at: float, state: str, **details: Any) -> Status:
    tradable = details.pop("tradable", True)
    told = {"exchange": "one", "at": (START + int(at * SECOND)) // 10**6, **details}
    return Status(event, told, {**STATE, "state": state, "tradable": tradable})


def record(folder: Path, events: Sequence[Any], channels: Sequence[str] = ("trades",), at: float = 0.0) -> None:
    """Write events as a recorder does, in one session."""
    clock = START / 1e9 + at - time.time()
    plan = Plan(folder, channels, ["BTC", "ETH"], ["1m"], 20, 1000.0, 1000.0, 1_000_000)
    writer = Writer(plan, now=lambda: time.time() + clock)
    for event in events:
        writer.put(event)
    writer.close()


@pytest.fixture
def minute(tmp_path: Path) -> Path:
    """A trade a second for a minute, of two coins in turn."""
    record(tmp_path, priced([trade("BTC" if n % 2 else "ETH", float(n), 100.0 + n) for n in range(60)]))
    return tmp_path


async def test_the_clock_is_the_recordings(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    told: list[tuple[float, float]] = []
    feed.subscribe_trades(lambda each: told.append((each.received_at / 1e9, feed.now())))
    assert feed.now() == START / 1e9
    async with feed:
        await feed.wait_closed()
    assert len(told) == 60
    assert all(received == now for received, now in told)


async def test_a_sleeping_bot_wakes_between_the_events_that_it_would_have_woken_between(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    woken: list[tuple[float, float]] = []

    async def bot() -> None:
        while feed.status.connected:
            await feed.sleep(2.5)
            price = feed.get_price("BTC")
            woken.append((feed.now() - START / 1e9, price.price if price is not None else 0.0))

    async with feed:
        running = asyncio.create_task(bot())
        await feed.wait_closed()
        await running
    assert woken[:3] == [(2.5, 101.0), (5.0, 105.0), (7.5, 107.0)]
    assert len(woken) == 24  # the last one when the replay ended
    with pytest.raises(FeedError, match="over"):
        await feed.sleep(1)


@pytest.mark.parametrize("kind", ["iterator", "coroutine"])
async def test_a_consumer_never_sees_the_future(kind: str, minute: Path) -> None:
    """What the feed says while an event is handled is of the time of that event, however long that takes."""
    feed = MarketFeed.from_recording(minute, ["BTC"], speed=None)
    seen: list[tuple[float, float]] = []

    async def handle(each: TradeEvent) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        known = feed.get_price("BTC")
        assert known is not None
        seen.append((each.price, known.price))

    if kind == "coroutine":
        feed.subscribe_trades(handle)
    async with feed:
        if kind == "iterator":
            async for each in feed.trades():
                await handle(each)
        await feed.wait_closed()
    assert [price for price, _ in seen] == [100.0 + n for n in range(1, 60, 2)]
    assert all(price == known for price, known in seen)


async def test_an_iterator_gets_every_event_however_slow_it_is(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    count = 0
    async with feed:
        async for _ in feed.trades(size=2):
            await asyncio.sleep(0.002)
            count += 1
    assert count == 60


async def test_a_consumer_that_never_comes_back_does_not_stop_the_replay(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    async with feed, asyncio.timeout(20):
        stream = feed.trades()
        await anext(stream)
        await feed.wait_closed()
    assert [each.price async for each in stream][-1] == 159.0


async def test_speed_paces_the_events(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=60.0)
    came: list[tuple[float, float]] = []
    feed.subscribe_trades(lambda each: came.append((each.received_at / 1e9 - START / 1e9, time.monotonic())))
    began = time.monotonic()
    async with feed:
        began = time.monotonic()
        await feed.wait_closed()
    assert 0.95 <= time.monotonic() - began < 3
    early = min((at - began) - due / 60 for due, at in came)
    assert early > -0.05  # none before its time


async def test_start_and_end(minute: Path) -> None:
    whole = (await played(minute)).of(TradeEvent)
    start = datetime.fromtimestamp(START / 1e9 + 10, UTC)
    for begin, end in (
        (start, START // 10**6 + 20_000),
        (START // 10**6 + 10_000, "2025-11-28T00:00:20Z"),
        ("2025-11-28T00:00:10", "2025-11-28T01:00:20+01:00"),
    ):
        part = (await played(minute, start=begin, end=end)).of(TradeEvent)
        assert part == whole[10:21]


async def test_seek_goes_on_elsewhere(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    prices: list[float] = []

    async def on_trade(each: TradeEvent) -> None:
        prices.append(each.price)
        if len(prices) == 5:
            await feed.seek(START // 10**6 + 50_000)
            assert feed.get_price("BTC") is None
        elif len(prices) == 8:
            await feed.seek("2025-11-28T00:00:58Z")

    feed.subscribe_trades(on_trade)
    async with feed:
        await feed.wait_closed()
    assert prices == [100.0, 101.0, 102.0, 103.0, 104.0, 150.0, 151.0, 152.0, 158.0, 159.0]


async def test_coins_are_chosen(minute: Path) -> None:
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


async def test_several_recordings_merge_by_the_time_of_receipt(tmp_path: Path) -> None:
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


async def test_outages_happen_again(tmp_path: Path) -> None:
    """The state, the breaker and freshness are at each moment what they were then."""
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


async def test_books_are_the_same_at_every_depth(tmp_path: Path) -> None:
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


async def test_quotes_tickers_and_candles_keep_every_field(tmp_path: Path) -> None:
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


async def test_a_tick_that_follows_from_nothing_is_kept_as_it_was(tmp_path: Path) -> None:
    one, two = trade("BTC", 1.0, 100.0), trade("BTC", 2.0, 101.0)
    alone = PriceTick("BTC", 99.0, 5, 1.0, 2.0, "one", START + SECOND, "BTC/USDT")
    other_day = PriceTick("BTC", 101.0, two.timestamp, 7.0, 2.0, "one", two.received_at, "BTC/USDT")
    events = [one, alone, two, other_day]
    record(tmp_path, events)
    delivered = await played(tmp_path)
    assert [each for each in delivered.events if not isinstance(each, tuple)] == events


async def test_volatility_and_history_are_of_the_recordings_time(tmp_path: Path) -> None:
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


def test_run_returns_at_the_end(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=None)
    trades: list[TradeEvent] = []
    feed.subscribe_trades(trades.append)
    feed.run()
    feed.run()  # plays it again
    assert len(trades) == 120
    assert trades[:60] == trades[60:]


async def test_disconnecting_ends_a_replay_at_once(minute: Path) -> None:
    feed = MarketFeed.from_recording(minute, speed=0.01)
    async with feed:
        sleeping = asyncio.create_task(feed.sleep(1000))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await sleeping
    assert feed.status.state == "closed"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"speed": 0}, "speed: found 0, allowed is a number above 0, or None"),
        ({"start": "yesterday"}, "start: found 'yesterday', allowed is Unix ms"),
        ({"start": START // 10**6 + 99_000}, "start: found 2025-11-28T00:01:39.000Z, allowed is a time from"),
        ({"start": START // 10**6 + 9_000, "end": START // 10**6}, "end: found 2025-11-28T00:00:00.000Z"),
        ({"coins": ["DOGE"]}, "coin: found 'DOGE', allowed are those of the recording: BTC, ETH"),
        ({"exchange": 5}, "exchange: found 5, allowed are those of the recording: one"),
        ({"exchange": "two"}, "exchange: found 'two', allowed are those of the recording: one"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], told: str, minute: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        MarketFeed.from_recording(minute, **arguments)


def test_a_folder_without_a_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no recording"):
        MarketFeed.from_recording(tmp_path)
    with pytest.raises(SettingsError, match="is no folder"):
        MarketFeed.from_recording(tmp_path / "nothing")
    record(tmp_path / "outage", [status("exhausted", 1, "failed", reason="no exchange works")])
    with pytest.raises(SettingsError, match="holds no market data"):
        MarketFeed.from_recording(tmp_path / "outage")
    for other in (5, None, b"ticks", ""):
        with pytest.raises(SettingsError, match=r"recording: found .*, allowed is the folder of a recording"):
            MarketFeed.from_recording(other)  # type: ignore[arg-type] # what a user without mypy may pass


async def test_times_and_speeds_may_be_numbers_of_numpy(minute: Path) -> None:
    start = np.int64(START // 10**6 + 9_000)
    feed = MarketFeed.from_recording(minute, start=start, speed=np.int64(2))  # type: ignore[arg-type] # a column's
    assert feed.now() == START / 1e9 + 9


def test_a_damaged_file_ends_a_replay_with_its_name(minute: Path) -> None:
    path = max(minute.glob("trades/*/BTC/*/*.parquet"))
    data = bytearray(path.read_bytes())
    data[4:204] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(FeedError, match=path.name):
        asyncio.run(played(minute))
    path.write_bytes(data[:200])
    with pytest.raises(SettingsError, match=path.name):
        MarketFeed.from_recording(minute)


async def test_the_settings_may_name_a_recording_in_place_of_exchanges(minute: Path, tmp_path: Path) -> None:
    """A program that gets its feed by its settings plays a recording without a change of its own."""
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"coins: [BTC, ETH, DOGE]\nrecording: {{folder: {minute}, speed: max, start: 2025-11-28T00:00:10Z}}\n"
    )
    feed = MarketFeed(settings=file)
    assert feed.now() == START / 1e9 + 10
    delivered = Delivered(feed)
    async with feed:
        await feed.wait_closed()
    assert delivered.of(TradeEvent) == (await played(minute)).of(TradeEvent)[10:]
    told = [details for event, details in delivered.of(tuple) if event == "coin_unavailable"]
    assert [(each["coin"], each["reason"]) for each in told] == [("DOGE", "the recording has no DOGE")]
    alone = MarketFeed(["btc"], settings=Settings(recording=RecordingConfig([str(minute)], speed="max")))
    assert [config.symbol for config in alone.coin_configs] == ["BTC"]


async def test_recordings_that_the_settings_name_merge_by_the_time_of_receipt(tmp_path: Path) -> None:
    for name, first in (("one", 0), ("two", 1)):
        record(tmp_path / name, priced([trade("BTC", n / 10, 100.0 + n, name) for n in range(first, 50, 2)]))
    folders = RecordingConfig([str(tmp_path / "one"), str(tmp_path / "two")], speed="max")
    feed = MarketFeed(settings=Settings(recording=folders))
    delivered = Delivered(feed)
    async with feed:
        await feed.wait_closed()
    assert [each.price for each in delivered.of(TradeEvent)] == [100.0 + n for n in range(50)]
    feed = MarketFeed(exchange="two", settings=Settings(recording=folders))
    assert feed.status.exchange in ("", "two")
    with pytest.raises(SettingsError, match="exchange: found 'kraken', allowed are those of the recording: one, two"):
        MarketFeed(exchange="kraken", settings=Settings(recording=folders))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "recording: {folder: []}",
            "recording.folder: found [], allowed is the folder of a recording, or a list of them",
        ),
        ("recording: {speed: 2}", "recording.folder: found nothing"),
        (
            "recording: {folder: ticks, speed: fast}",
            "recording.speed: found 'fast', allowed is a factor above 0, or max",
        ),
        ("recording: {folder: ticks, speed: 0}", "recording.speed: found 0, allowed is a factor above 0, or max"),
        ("recording: {folder: ticks, sped: 1}", "nearest is speed"),
        ("recording: nowhere", "recording: nowhere is no folder"),
        ("recording: MINUTE\nbus: nats://127.0.0.1:4222", "found both a recording and a bus"),
        (
            "recording: MINUTE\ncoins: [DOGE]",
            "coins: found none of the recording's in the settings, allowed are BTC, ETH",
        ),
        ("recording: {folder: MINUTE, start: noon}", "start: found 'noon', allowed is Unix ms"),
    ],
)
def test_wrong_settings_of_a_recording_are_named(text: str, told: str, minute: Path) -> None:
    file = minute / "settings.yaml"
    file.write_text(text.replace("MINUTE", str(minute)))
    with pytest.raises(SettingsError) as raised:
        MarketFeed(settings=file)
    assert told in str(raised.value)
