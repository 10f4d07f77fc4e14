"""Measures what recording costs beside a bare pyarrow writer, how large a day is, and how fast a replay is.

    python -m tests.benchmarks.recording [--seconds 60] [--trades 50000]

Both sides of a comparison are measured in one run: the bare writer puts the same rows into one Parquet file of each
channel, in batches at the same intervals as the recorder; the live feed reads the same number of trades over a
loopback socket.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from exchanges.events import Candle, Ticker, TradeEvent
from exchanges.recording.files import recorded_files
from exchanges.recording.writing import write
from exchanges.simulator import Simulator
from exchanges.simulator.markets.catalog import DEFAULT_COINS
from feed import MarketFeed, PriceTick, Recorder, Settings
from feed.market_data.price_cache import PriceCache
from feed.settings import ExchangeConfig
from feed.sinks.recorder.writer import EARLY, Plan, Writer
from tests.benchmarks.measure import Failed, Phase, measure
from tests.benchmarks.readers import READERS

RATE = 2000  # events per second
FLUSH = 2.0
TURN = 0.005  # seconds between two batches of events
COINS = list(DEFAULT_COINS)
MIX = ("trade",) * 14 + ("ticker",) * 5 + ("candle",)  # the types of every 20 events
NAN = float("nan")
Event = TradeEvent | Ticker | Candle
Delivered = Event | PriceTick


def made_events(seconds: float) -> list[Event]:
    """The events of a feed of twenty coins."""
    now = time.time_ns()
    found: list[Event] = []
    for number, kind in zip(range(int(RATE * seconds)), cycle(MIX), strict=False):
        coin = COINS[number * 7 % len(COINS)]
        at = now + number * 10**9 // RATE
        ms, market, price = at // 10**6, f"{coin}/USDT", 60_000 + (number * 37 % 1000) / 100
        if kind == "trade":
            size = (number * 7919 % 100_000) / 100_000
            found.append(
                TradeEvent(coin, price, size, number % 2 == 0, ms, "binance", str(10**9 + number), at, False, market)
            )
        elif kind == "ticker":
            found.append(Ticker(coin, price, ms, 1e9 + number, 1.25, price, 1.5, price, 2.5, "binance", at, market))
        else:
            opened = ms // 60_000 * 60_000
            found.append(
                Candle(coin, "1m", opened, price, price, price, price, 1.0 * number, False, "binance", at, market)
            )
    return found


class Paced:
    """Passes events on at a steady rate; measures the CPU seconds of the calls and of other threads."""

    def __init__(self, events: Sequence[Delivered], put: Callable[[Any], object], seconds: float) -> None:
        self.events, self.put, self.rate = events, put, len(events) / seconds
        self.spent = 0.0

    def _measured(self, call: Callable[[], object]) -> None:
        began = time.thread_time()
        call()
        self.spent += time.thread_time() - began

    def _hand_on(self, part: Sequence[Delivered]) -> None:
        for event in part:
            self.put(event)

    def run(self, every: Callable[[], object] | None, close: Callable[[], object]) -> float:
        """Pass all events on, and call ``every`` as often as a recorder writes; returns the CPU seconds."""
        gc.collect()
        gc.freeze()  # a feed would not hold all these events, so the garbage collector must not examine them
        ours, all_of_it, began = time.thread_time(), time.process_time(), time.monotonic()
        place, due = 0, FLUSH * EARLY
        while place < len(self.events):
            passed = time.monotonic() - began
            end = min(len(self.events), int(passed * self.rate))
            self._measured(partial(self._hand_on, self.events[place:end]))
            place = end
            if every is not None and passed >= due:
                self._measured(every)
                due += FLUSH * EARLY
            time.sleep(TURN)
        self._measured(close)
        others = (time.process_time() - all_of_it) - (time.thread_time() - ours)
        return self.spent + max(0.0, others)


class BareWriter:
    """A pyarrow writer for each type of event, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[type, list[Any]] = {}
        self._writers: dict[type, pq.ParquetWriter] = {}
        self._numbered = 0

    def put(self, event: Event) -> None:
        self._rows.setdefault(type(event), []).append(event)

    def flush(self) -> None:
        for kind, rows in ((kind, rows) for kind, rows in self._rows.items() if rows):
            columns = {name: [getattr(row, name) for row in rows] for name in kind.__slots__}  # type: ignore[attr-defined] # dataclasses' slots
            columns["seq"] = list(range(self._numbered, self._numbered + len(rows)))
            self._numbered += len(rows)
            if kind is not Candle:
                columns["priced"] = [True] * len(rows)
            table = pa.table(columns)
            if kind not in self._writers:
                path = self._folder / f"{kind.__name__}.parquet"
                self._writers[kind] = pq.ParquetWriter(path, table.schema, compression="zstd")
            self._writers[kind].write_table(table)
            rows.clear()

    def close(self) -> None:
        self.flush()
        for writer in self._writers.values():
            writer.close()


def cost(seconds: float, folder: Path) -> tuple[float, float]:
    """CPU seconds of the bare writer and of the recorder."""
    events = made_events(seconds)
    delivered = list(_delivered(events))
    pa.array([0.0])  # imports pandas if it is installed; this cost counts for neither side
    bare = BareWriter(folder)
    bare_cost = Paced(events, bare.put, seconds).run(bare.flush, bare.close)
    writer = Writer(Plan(folder / "r", ["trades", "ticker", "candles"], COINS, ["1m"], 20, FLUSH, 300.0, 200_000))
    writer.flush().result()
    return bare_cost, Paced(delivered, writer.put, seconds).run(None, writer.close)


def _delivered(events: Iterable[Event]) -> Iterator[Delivered]:
    """The events and their price ticks in the feed's order: a trade, then its tick; a tick, then its ticker."""
    prices = PriceCache()
    for event in events:
        if type(event) is TradeEvent:
            yield event
            yield prices[event.coin].on_trade(event, 0.0)
        else:
            if type(event) is Ticker:
                yield prices[event.coin].repeat(event, 0.0)
            yield event


def _tick(of: TradeEvent | Ticker, price: float, volume: float, change: float) -> PriceTick:
    return PriceTick(of.coin, price, of.timestamp, volume, change, of.exchange, of.received_at, of.market)


async def size(seconds: float, rate: float, folder: Path) -> list[str]:
    """Return the size of a day of twenty coins for each channel, from one large file: small files are mostly footer."""
    async with Simulator(0, ("binance",), rate) as simulator:
        venue = ExchangeConfig("binance", rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        feed = MarketFeed(settings=Settings(exchanges=[venue]))
        async with Recorder(feed, folder), feed:
            await asyncio.sleep(seconds)
    lines = []
    for channel in ("trades", "ticker", "candles", "prices"):
        files = recorded_files(folder, [channel])
        if files:
            rows = pa.concat_tables([pq.ParquetFile(each.path).read() for each in files])
            entry = write(folder, "all.parquet", [rows.sort_by([("coin", "ascending"), ("seq", "ascending")])])
            each, day = entry["bytes"] / len(rows), len(rows) * 86_400 / seconds
            lines.append(
                f"{channel}: {each:.1f} bytes a row, a day {day / 1e6:.1f} M rows and {each * day / 1e6:.0f} MB"
            )
    return lines


async def replayed(folder: Path) -> tuple[int, float]:
    """Replay a recording; return how many trades a plain callback gets, and how many per second."""
    feed = MarketFeed.from_recording(folder, speed=None)
    count = 0
    first = last = 0.0

    def on_trade(trade: TradeEvent) -> None:
        nonlocal count, first, last
        last = time.perf_counter()
        first = first or last
        count += 1

    feed.subscribe_trades(on_trade)
    async with feed:
        await feed.wait_closed()
    return count, (count - 1) / (last - first)


def record_flood(trades: int, folder: Path) -> None:
    """Record so many ``trades`` of twenty coins."""
    writer = Writer(Plan(folder, ["trades"], COINS, [], 20, FLUSH, 300.0, 10**9))
    now = time.time_ns()
    for number in range(trades):
        coin, at = COINS[number * 7 % len(COINS)], now + number * 10_000
        event = TradeEvent(
            coin, 100.0 + number % 99, 0.5, False, at // 10**6, "binance", str(number), at, False, f"{coin}/USDT"
        )
        writer.put(event)
        writer.put(_tick(event, event.price, NAN, NAN))
    writer.close()


async def main(seconds: float, trades: int, rate: float) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        bare, recorder = cost(seconds, folder)
        print(f"{RATE} events/s for {seconds:g} s: bare writer {bare / seconds * 100:.2f} % of a core, "
              f"recorder {recorder / seconds * 100:.2f} %: {recorder / bare:.2f} times", flush=True)  # fmt: skip
        for line in await size(seconds, rate, folder / "size"):
            print(f"{rate:g} trades/s of 20 coins: {line}", flush=True)
        record_flood(trades, folder / "flood")
        reader = READERS["feed"]
        for _ in range(3):
            count, speed = await replayed(folder / "flood")
            try:
                live = (await measure(reader, "binance", sys.executable, [Phase(trades, 0)]))[0].speed
            except Failed as error:
                print(f"the live feed was not measured: {error}")
                continue
            told = f"replay {speed:,.0f} trades/s of {count:,}, live over the socket {live:,.0f}"
            print(f"{told}: {speed / live:.2f} times", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--trades", type=int, default=50_000)
    options.add_argument("--rate", type=float, default=150.0, help="of the simulated trades")
    args = options.parse_args()
    asyncio.run(main(args.seconds, args.trades, args.rate))
