"""The recorder over real files: it writes complete rows in their order, and lists what is missing."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from exchanges.errors import Disconnected
from exchanges.events import Candle, TradeEvent
from exchanges.recording.files import manifest
from exchanges.recording.rows import schema
from exchanges.registry import register
from exchanges.simulator import Simulator, parse_fault
from feed import FeedError, MarketFeed, Recorder, Settings
from feed.events import CoinConfig, FeedState
from feed.settings import Connection, ExchangeConfig
from feed.sinks.folder_lock import FolderLock
from feed.sinks.recorder.writer import Plan, Writer, begins_after
from tests.feed.memory_venue import MemoryVenue
from tests.kills import kill_often
from tests.recordings import Delivered, memory_venue, plan_for, played, rows, trade_at, until
from tests.support import settings_for

HOUR = 3600.0


def memory_feed(name: str, *coins: str) -> MarketFeed:
    settings = Settings(
        coins=[CoinConfig(coin) for coin in coins],
        channels=["trades"],
        exchanges=[ExchangeConfig(name)],
        connection=Connection(backoff_initial=0.05, backoff_max=0.1),
    )
    return MarketFeed(settings=settings)


async def connected(feed: MarketFeed, venue: MemoryVenue) -> None:
    """Connect the feed to a venue in memory, and make the trade that connect() waits for."""
    connecting = asyncio.create_task(feed.connect())
    await until(lambda: bool(venue.connections))
    venue.trade("BTC", 1.0)
    await connecting


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), 300) as simulator:
        yield simulator


async def test_a_replay_delivers_what_the_live_feed_delivered(tmp_path: Path) -> None:
    """Trades are missing and a connection is cut; gaps, the outage, ticks and status events are replayed too."""
    async with Simulator(0, ("binance",), 400) as simulator:
        channels = ["trades", "ticker", "candles", "quotes", "books"]
        feed = MarketFeed(settings=settings_for(simulator, coins=["BTC", "ETH", "DOGE"], channels=channels))
        live = Delivered(feed)
        async with Recorder(feed, tmp_path / "day", file_seconds=0.5, flush_seconds=0.3), feed:
            with simulator["binance"].inject(parse_fault("missing-0.1").fault):
                await until(lambda: "gap" in live.status)
            with simulator["binance"].inject(parse_fault("cut").fault):
                await until(lambda: "disconnected" in live.status)
            await until(lambda: live.status.count("connected") > 1)
    first = await played(tmp_path / "day")
    second = await played(tmp_path / "day")
    assert {"gap", "disconnected", "connected", "closed"} <= set(first.status)
    assert first.shown == live.shown
    assert second.shown == first.shown


async def test_a_replay_gives_the_same_answers_as_the_live_feed(tmp_path: Path, simulator: Simulator) -> None:
    """The compared answers are the volatility (from fetched candles too), and the state and the price at each event."""

    def watch(feed: MarketFeed) -> tuple[list[Any], list[Any]]:
        known: list[Any] = []
        states: list[Any] = []

        def on_candle(candle: Candle) -> None:
            tick = feed.get_price(candle.coin)
            known.append((candle, feed.volatility(candle.coin), None if tick is None else repr(tick)))

        feed.subscribe_candles(on_candle)
        feed.subscribe_status(lambda event, _: states.append((event, feed.status.state, feed.tradable)))
        return known, states

    feed = MarketFeed(settings=settings_for(simulator, coins=["BTC", "ETH"], channels=["trades", "ticker", "candles"]))
    live, states = watch(feed)
    async with Recorder(feed, tmp_path), feed:
        await until(lambda: bool(live) and live[-1][1] is not None)
        past = await feed.candles_history("BTC", "1m", 50)
        await until(lambda: len(live) > len(past))
    replay = MarketFeed.from_recording(tmp_path, speed=None)
    again, states_again = watch(replay)
    replayed: list[Candle] = []

    async def ask_at_the_last(candle: Candle) -> None:
        if candle.received_at == live[-1][0].received_at:
            replayed[:] = await replay.candles_history("BTC", "1m", 200)

    replay.subscribe_candles(ask_at_the_last)
    async with replay:
        await replay.wait_closed()
    assert again == live
    assert [each for each in states_again if each[0] != "closed"] == [each for each in states if each[0] != "closed"]
    closed = {each.timestamp: each.close for each in past if each.closed}
    assert len(closed) > 40
    assert closed.items() <= {each.timestamp: each.close for each in replayed}.items()


async def test_every_documented_reader_can_open_the_folder(tmp_path: Path, simulator: Simulator) -> None:
    feed = MarketFeed(settings=settings_for(simulator, channels=["trades", "ticker", "candles"]))
    trades: list[TradeEvent] = []
    candles: list[Candle] = []
    feed.subscribe_trades(trades.append)
    feed.subscribe_candles(candles.append)
    async with Recorder(feed, tmp_path) as recorder, feed:
        await until(lambda: len(trades) > 50 and bool(candles))
        count = len(trades)
        await recorder.flush()
        for number in (1, 2):  # while the recorder runs, and after its end
            found = {
                "pyarrow": ds.dataset(tmp_path / "trades", format="parquet").to_table().num_rows,
                "pandas": len(pd.read_parquet(tmp_path / "trades")),
                "polars": pl.scan_parquet(tmp_path / "trades/**/*.parquet").collect().height,
                "duckdb": len(duckdb.execute(f"select * from '{tmp_path}/trades/**/*.parquet'").fetchall()),
            }
            assert min(found.values()) >= count > 50, found
            if number == 1:
                await recorder.close()
                count = len(rows(tmp_path, "trades"))
    frame = pd.read_parquet(tmp_path / "trades/binance/BTC")
    assert list(frame.trade_id) == [t.trade_id for t in trades if t.coin == "BTC"][: len(frame)]
    assert str(frame.timestamp.dtype) == str(frame.received_at.dtype) == "int64"
    assert set(pl.read_parquet(tmp_path / "ticker/**/*.parquet")["market"]) == {"BTC/USDT", "ETH/USDT"}
    query = f"select distinct timeframe from '{tmp_path}/candles/**/*.parquet'"
    assert duckdb.execute(query).fetchall() == [("1m",)]


async def test_all_events_are_on_disk_when_flush_returns(tmp_path: Path) -> None:
    venue = memory_venue("acknowledging", "BTC")
    register("acknowledging", lambda access: venue)
    feed = memory_feed("acknowledging", "BTC")
    async with Recorder(feed, tmp_path, flush_seconds=1000) as recorder:
        await connected(feed, venue)
        for price in range(100):
            venue.trade("BTC", 2.0 + price)
        await recorder.flush()
        assert [row["price"] for row in rows(tmp_path, "trades")] == [1.0, *(2.0 + price for price in range(100))]
        assert recorder.status.waiting == 0
        await feed.disconnect()
    assert recorder.status.written > 100


async def test_kill_9_loses_nothing_older_than_the_flush_interval(tmp_path: Path) -> None:
    lost = await kill_often(tmp_path, 4, flush=0.4, files=0.3, longest=2.0, seed=5)
    assert lost.rows > 500
    assert lost.faults == 0, lost


def test_the_hole_after_a_killed_recorder_is_listed_even_if_the_next_recorder_fails_at_its_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1_764_288_000.0
    plan = Plan(tmp_path, ["trades"], ["BTC"], [], 20, 0.05, HOUR, 1000)

    def run(at: float, *, killed: bool) -> None:
        writer = Writer(plan, now=lambda: clock + at)
        writer.put(TradeEvent("BTC", 1.0, 1.0, False, 1, "one", "1", int((clock + at) * 1e9)))
        writer.close()
        if killed:
            lines = (tmp_path / "manifest.jsonl").read_text().splitlines(keepends=True)
            (tmp_path / "manifest.jsonl").write_text("".join(line for line in lines if "ended" not in line))

    run(0, killed=True)
    with monkeypatch.context() as patched:
        patched.setattr("feed.sinks.recorder.writer.write_small", _full_disk)
        with pytest.raises(FeedError, match="could not be recorded"):
            run(100, killed=True)
    run(200, killed=False)
    assert [(row["from_ts"], row["to_ts"], row["reason"]) for row in rows(tmp_path, "gaps")] == [
        (1_764_288_000_000, 1_764_288_200_000, "the recorder was killed")
    ]


def _full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("slowest", "seconds"), [(0.0, 1.0), (0.1, 1.0), (0.4, 0.8), (0.5, 0.5), (5.0, 0.5)])
def test_writing_begins_earlier_while_the_machine_is_slow(slowest: float, seconds: float) -> None:
    assert begins_after(2.0, slowest) == pytest.approx(seconds)


async def test_a_second_recorder_in_the_same_folder_is_refused(tmp_path: Path, simulator: Simulator) -> None:
    feed = MarketFeed(settings=settings_for(simulator))
    async with Recorder(feed, tmp_path):
        with pytest.raises(FeedError, match="another recorder writes to"):
            Recorder(feed, tmp_path).start()
    Recorder(feed, tmp_path).start()  # the first recorder released the lock


async def test_a_removed_folder_is_made_again_and_listed_as_a_hole(tmp_path: Path) -> None:
    venue = memory_venue("removing", "BTC")
    register("removing", lambda access: venue)
    feed, folder = memory_feed("removing", "BTC"), tmp_path / "gone"
    async with Recorder(feed, folder, flush_seconds=0.1) as recorder:
        await connected(feed, venue)
        await recorder.flush()
        folder.rename(tmp_path / "elsewhere")  # not deleted, because the recorder may write during a deletion
        venue.trade("BTC", 5.0)
        await recorder.flush()
        assert [row["price"] for row in rows(folder, "trades")] == [5.0]
        await feed.disconnect()
    assert {row["reason"] for row in rows(folder, "gaps")} == {"the recording's folder was removed"}


LIMITED = """
import resource, signal, sys, time
from pathlib import Path
from exchanges.events import TradeEvent
from feed.sinks.recorder.writer import Plan, Writer, begins_after

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = Writer(Plan(Path(sys.argv[1]), ["trades"], ["BTC"], [], 20, 0.1, 1000.0, 300))
number = 0

def put(count):
    global number
    for _ in range(count):
        number += 1
        now = time.time_ns()
        writer.put(TradeEvent("BTC", float(number), 1.0, False, now // 10**6, "memory", str(number), now))

put(100)
writer.flush().result(10)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))   # every write fails, as on a full disk
put(200)
while writer.failure is None:
    time.sleep(0.01)
put(250)                                               # 100 of them find room in the queue
assert writer.dropped == 150, writer.dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
writer.flush().result(10)
assert writer.failure is None
put(1)
writer.close()
"""


def test_only_events_that_exceed_the_queue_are_lost_while_the_disk_is_full(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path)], check=True, timeout=60)
    ids = [int(row["trade_id"]) for row in rows(tmp_path, "trades")]
    assert ids == [*range(1, 401), 551]
    dropped = [row for row in rows(tmp_path, "gaps") if row["reason"] == "the recorder fell behind"]
    assert [(row["channel"], row["coin"], row["missing"]) for row in dropped] == [("trades", "BTC", 150)]
    assert not list(tmp_path.rglob("*.part"))


def test_flush_does_not_return_while_an_event_waits_in_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds even if flush() is called while the writing thread empties the queue."""
    writer = Writer(plan_for(tmp_path))
    writer.flush().result(10)
    asked: list[threading.Thread] = []
    acknowledged: list[Future[None]] = []

    class Queue(deque[Any]):
        def popleft(self) -> Any:
            event = super().popleft()
            asked.append(threading.Thread(target=lambda: acknowledged.append(writer.flush())))
            asked[-1].start()
            asked[-1].join(0.2)  # flush() may have to wait until the queue is empty
            return event

    with monkeypatch.context() as patched:
        patched.setattr("feed.sinks.recorder.writer.write_small", _full_disk)
        patched.setattr(writer, "_queue", Queue())
        writer.put(trade_at(1, time.time()))
        deadline = time.monotonic() + 10
        while not (acknowledged and writer.failure):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(TimeoutError):
            acknowledged[0].result(0.3)
    writer.close()
    assert acknowledged[0].done()


async def test_gaps_and_outages_are_listed_as_holes(tmp_path: Path) -> None:
    venue = memory_venue("holes", "BTC")
    register("holes", lambda access: venue)
    feed = memory_feed("holes", "BTC")
    async with Recorder(feed, tmp_path, channels=["trades", "ticker"], flush_seconds=0.1) as recorder:
        await connected(feed, venue)
        lost = list(venue.connections)
        with venue.failing(Disconnected("holes", "out")):
            venue.trade("BTC", 2.0, told=False)
            await until(lambda: feed.status.state is not FeedState.LIVE)
        venue.trades[1:2] = []  # the venue's REST does not have the trade either
        await until(lambda: any(each not in lost for each in venue.connections))
        for connection in [each for each in venue.connections if each not in lost]:
            now = time.time_ns()
            connection.hear(TradeEvent("BTC", 4.0, 1.0, False, now // 10**6, "holes", "9", now, market="BTC/USDT"), 9)
        await until(lambda: feed.get_price("BTC") == feed.require_fresh("BTC") and feed.status.reconnect_count == 1)
        await recorder.flush()
        await feed.disconnect()
    holes = rows(tmp_path, "gaps")
    assert [(h["channel"], h["coin"], h["from_id"], h["to_id"]) for h in holes if h["channel"] == "trades"] == [
        ("trades", "BTC", 2, 8)
    ]
    assert [h["reason"] for h in holes if h["channel"] == "ticker"] == ["outage: out"]


def test_the_manifest_describes_the_content_of_each_file(tmp_path: Path) -> None:
    writer = Writer(plan_for(tmp_path))
    for number in range(50):
        writer.put(trade_at(number, time.time()))
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    entry = next(entry for line in lines for entry in line.get("into", ()) if entry["file"].startswith("trades/"))
    assert (entry["rows"], entry["first_id"], entry["last_id"]) == (50, "0", "49")
    assert entry["bytes"] == (tmp_path / entry["file"]).stat().st_size
    assert "session" in lines[0]


def test_the_lock_shows_that_its_folder_was_removed(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "x")
    assert lock.stands
    shutil.rmtree(tmp_path / "x")
    assert not lock.stands
    lock.release()


def test_a_manifest_with_unknown_fields_and_half_a_line_is_read(tmp_path: Path) -> None:
    session = {"began": 1, "first": 0, "channels": ["trades"], "coins": ["BTC"], "timeframes": [], "new": 1}
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"session": session}) + '\n{"ended": 5, "la')
    assert [(each.began, each.ended) for each in manifest(tmp_path).sessions] == [(1, None)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"channels": ["klines"]}, "allowed are trades, ticker, candles, quotes, books"),
        ({"flush_seconds": 0}, "flush_seconds: found 0"),
    ],
)
def test_the_error_for_a_wrong_argument_names_the_argument(
    arguments: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        Recorder(MarketFeed(), tmp_path, **arguments)  # type: ignore[arg-type] # wrong on purpose


def test_the_error_names_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FeedError, match="can't be written to"):
        Recorder(MarketFeed(), tmp_path / "file" / "folder").start()


async def test_the_channel_of_holes_can_be_read_even_if_there_are_no_holes(tmp_path: Path) -> None:
    register("one", lambda access: memory_venue("one", "BTC"))
    async with Recorder(memory_feed("one", "BTC"), tmp_path):
        pass
    for channel in ("gaps", "status"):
        path = tmp_path / channel
        assert {*schema(channel).names} <= {*ds.dataset(path, format="parquet").to_table().column_names}
        assert duckdb.execute(f"select * from '{path}/**/*.parquet'").fetchall() == []
        assert pl.scan_parquet(f"{path}/**/*.parquet").collect().is_empty()
        assert pd.read_parquet(path).empty
