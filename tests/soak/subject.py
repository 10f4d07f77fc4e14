"""The process with the feed: it writes the feed's events, counts the process's objects, and does nothing else.

``run`` starts this process with the settings as JSON in its first argument. Each line on stdout is one JSON array, a
tag and its fields; times are monotonic seconds, which all processes of a machine share. Lines on stdin are orders:
``census``, ``close``. The end of stdin ends the process.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from loguru import logger

from feed import Candle, MarketFeed, PriceTick, Settings, StaleDataError, TradeEvent
from feed.settings.validation import check
from feed.trades.duplicates import RecentIds

FLUSH = 0.02  # seconds for which lines may wait before they are written
ASK_EVERY = 0.25  # seconds between two calls for fresh prices
MAX_AGES = (2.0, 5.0)  # seconds, used in turn
BEAT = 0.05
BLOCK = 80  # bytes that a block of Python's own allocator takes on average
STALL = 0.1  # a sleep that is late by this many seconds counts as a stall
COUNTED = (
    "Future",
    "TradeSequence",
    "CcxtConnection",
    "ConnectionListener",
    "Session",
    "ClientSession",
    "FastClient",
    "Timeframes",
)


class Reporter:
    """Writes lines to a pipe without blocking the feed's loop; the lines wait in memory while the referee is busy."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self.most = 0  # the highest number of bytes that waited
        self._encode = msgspec.json.Encoder().encode
        self._pending: list[bytes] = []

    def tell(self, *fields: Any) -> None:
        if not self._pending:
            asyncio.get_running_loop().call_later(FLUSH, self.flush)
        self._pending.append(self._encode(fields))

    def flush(self) -> None:
        if self._pending:
            self.transport.write(b"\n".join([*self._pending, b""]))
            self._pending.clear()
            self.most = max(self.most, self.transport.get_write_buffer_size())


def subscribe(feed: MarketFeed, tell: Any) -> None:
    """Write all events of the feed."""

    def on_trade(trade: TradeEvent) -> None:
        kind = "filled" if trade.backfilled else "trade"
        waited = (time.time_ns() - trade.received_at) / 1e9
        fields = (trade.trade_id, trade.price, trade.quantity, trade.is_buyer_maker, trade.timestamp, trade.market)
        tell(kind, time.monotonic(), waited, trade.coin, trade.exchange, *fields)

    def on_price(tick: PriceTick) -> None:
        told = (tick.price, tick.timestamp, tick.volume_24h, tick.change_24h, tick.market)
        tell("price", time.monotonic(), tick.coin, tick.exchange, *told)

    def on_candle(candle: Candle) -> None:
        if candle.closed:
            told = (candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume)
            tell("candle", time.monotonic(), candle.coin, candle.exchange, *told)

    def on_status(event: str, details: dict[str, Any]) -> None:
        tell("status", time.monotonic(), event, details)

    feed.subscribe_trades(on_trade)
    feed.subscribe_price(on_price)
    feed.subscribe_candles(on_candle)
    feed.subscribe_status(on_status)


async def ask(feed: MarketFeed, tell: Any) -> None:
    """Call for a fresh price of every coin, as a bot does before an order, and write each price that is returned."""
    turn = 0
    while True:
        await asyncio.sleep(ASK_EVERY)
        turn += 1
        max_age = MAX_AGES[turn % len(MAX_AGES)]
        refused = 0
        for coin in feed.coin_configs:
            try:
                tick = feed.require_fresh(coin.symbol, max_age)
            except StaleDataError:
                refused += 1
                continue
            told = (tick.coin, tick.exchange, tick.price, tick.timestamp, max_age)
            tell("fresh", time.monotonic(), time.time_ns() // 1_000_000, *told)
        tell("refused", time.monotonic(), refused)


async def watch_the_loop(tell: Any) -> None:
    """Report stalls of the event loop, which are not the feed's fault."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(BEAT)
        now = time.monotonic()
        if now - before > BEAT + STALL:
            tell("stall", now, before + BEAT)


def watch_for_defects(tell: Any) -> None:
    """Report unhandled exceptions in the loop, errors in the log, and warnings such as an unclosed socket."""

    def on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        tell("defect", time.monotonic(), "loop", f"{context.get('message')}: {context.get('exception')!r}")

    def on_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        tell("defect", time.monotonic(), "warning", f"{category.__name__}: {message}")

    asyncio.get_running_loop().set_exception_handler(on_exception)
    warnings.simplefilter("always")
    warnings.showwarning = on_warning
    logger.remove()
    logger.enable("feed")
    logger.enable("exchanges")
    logger.add(lambda text: tell("defect", time.monotonic(), "log", str(text)), level="ERROR", backtrace=False)


def rss() -> int:
    """Resident memory in bytes."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Heap(ctypes.Structure):
    """The struct that glibc's mallinfo2 returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def heap_in_use() -> int:
    """Bytes of live objects: freed memory may stay in the process, in pieces that can't be returned to the system."""
    small = sys.getallocatedblocks() * BLOCK
    with suppress(AttributeError, OSError, TypeError):  # there is no glibc, or it is older than 2.33
        ask = ctypes.CDLL(None).mallinfo2
        ask.restype = _Heap
        heap = ask()
        return small + int(heap.uordblks) + int(heap.hblkhd)
    return small


def census(feed: MarketFeed) -> dict[str, Any]:
    """Count the objects that the process holds now."""
    memory = rss()
    gc.collect()
    collected = rss()
    objects = gc.get_objects()
    types = Counter(type(each) for each in objects)
    names: Counter[str] = Counter()
    for kind, count in types.items():
        if kind.__name__ in COUNTED:
            names[kind.__name__] += count
        if any(base.__module__ == "ccxt.async_support.base.exchange" for base in kind.__mro__):
            names["ccxt exchanges"] += count
    return {
        "rss": memory,
        "rss_collected": collected,
        "heap": heap_in_use(),
        "tasks": len(asyncio.all_tasks()),
        "task_names": sorted(f"{task.get_name()} in {task.get_coro()!r}"[:200] for task in asyncio.all_tasks()),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "objects": sum(types.values()),
        "ids": sum(len(each) for each in objects if type(each) is RecentIds),
        "counts": dict(sorted(names.items())),
    }


Subscribe = Callable[[MarketFeed, Any], None]
Ask = Callable[[MarketFeed, Any], Coroutine[Any, Any, None]]


async def carry(settings: Settings, subscribe: Subscribe, ask: Ask) -> None:
    """Run the feed until the order ``close`` comes, or until stdin ends."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.Protocol, sys.stdout)
    reporter = Reporter(transport)
    orders = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    watch_for_defects(reporter.tell)
    check(settings)
    feed = MarketFeed(settings=settings)
    subscribe(feed, reporter.tell)
    await feed.connect(timeout=None)
    asking = [asyncio.create_task(ask(feed, reporter.tell)), asyncio.create_task(watch_the_loop(reporter.tell))]
    while order := (await orders.readline()).strip():
        if order == b"census":
            reporter.tell("census", time.monotonic(), census(feed))
        elif order == b"close":
            break
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    began = time.monotonic()
    await feed.disconnect()
    took = time.monotonic() - began
    await asyncio.sleep(0)
    reporter.tell("census", time.monotonic(), census(feed))
    reporter.tell("end", time.monotonic(), took, reporter.most)
    reporter.flush()
    reading.close()
    transport.close()
    await asyncio.sleep(0)


if __name__ == "__main__":
    spec = msgspec.json.decode(sys.argv[1])
    asyncio.run(carry(msgspec.convert(spec["settings"], Settings), subscribe, ask))
