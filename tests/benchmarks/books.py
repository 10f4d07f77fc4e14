"""Measures what order books of 20 coins (depth 20) cost beside 1,000 trades/s, in a feed and in raw ccxt.pro loops.

    python -m tests.benchmarks.books [--venue binance] [--seconds 20] [--rounds 3] [--rate 1000]

On Binance, a minimal reader with the same job (the floor, clients/floor_books.py) is measured too. It does not prove
books, and does not synchronize a book again.

The simulator in this process sends the same data to all readers: the trades, and the depth of each coin (Binance's 10
diffs/s, Bybit's 50 deltas/s), each stream at its own times. The readers run one after the other, in processes of their
own. The venues' limits are off: on a busy machine ccxt's requests come too close together, and the venue would close
ccxt's connection. Each reader takes each trade, and the best 20 levels of each book at each change. A reader reports
the CPU seconds that it spent after the first books came and, for this project, how long a book took from the reading of
its frame to the callback. The ccxt reader has a loop for each coin: a loop for several coins is woken for one coin, and
misses the books of the other coins that came in the same turn of the event loop (only 20 of 200 books came).

    python -m tests.benchmarks.books --path

measures what a Binance diff of 18 levels costs from its frame's text to the callback, without a socket. The fastest of
many runs counts, because other programs on the machine can only make a run slower.

    python -m tests.benchmarks.books --resubscribe [--coins 200] [--settled 120]

measures how long it takes until the books of ``--coins`` Binance coins on two connections are all proven: at the start,
and after a cut ``--settled`` seconds later. The venue's limit of REST weight applies; the simulator is in a process of
its own.

    python -m tests.benchmarks.books --sides

compares how the sides of a book may be kept: lists with bisect, and sortedcontainers' SortedDict, if that is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from exchanges import Access, Subscription, open_exchange
from exchanges.books.order_book import Side
from exchanges.ccxt_adapter.stream.row_handler import RowHandler
from exchanges.simulator import Simulator
from exchanges.simulator.markets.catalog import DEFAULT_COINS, list_markets
from exchanges.venues.fast_decoder import Blame, Take
from feed import MarketFeed, OrderBook, Settings, TradeEvent
from feed.events import CoinConfig
from feed.settings import ExchangeConfig
from tests.benchmarks.clients import floor_books

DEPTH = 20
SETTLED = 15.0  # seconds from the first books to the measurement; after this time, no snapshot is renewed
FAILED_PAUSE = 0.1  # seconds between two calls of a ccxt loop whose last call failed
WITHIN = 90.0  # seconds within which all books and trades must have come; ccxt subscribes to the coins one by one


class Tally:
    """The counts of a reader since the measurement began."""

    def __init__(self) -> None:
        self.complete = asyncio.Event()  # a book and a trade of each coin have come
        self._missing = {(what, coin) for what in ("book", "trade") for coin in DEFAULT_COINS}
        self.books = self.trades = 0
        self.delays: list[int] = []
        self.errors: dict[str, int] = {}

    def on_book(self, coin: str) -> None:
        self.books += 1
        self._came("book", coin)

    def on_trades(self, coin: str, count: int) -> None:
        self.trades += count
        self._came("trade", coin)

    def _came(self, what: str, coin: str) -> None:
        if self._missing:
            self._missing.discard((what, coin))
            if not self._missing:
                self.complete.set()

    async def failed(self, error: Exception) -> None:
        """Count the failure, and pause: a loop that fails again and again without a pause would block the other
        loops."""
        name = f"{type(error).__name__}: {str(error)[:80]}"
        self.errors[name] = self.errors.get(name, 0) + 1
        await asyncio.sleep(FAILED_PAUSE)

    async def measured(self, seconds: float) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN):
            await self.complete.wait()
        await asyncio.sleep(SETTLED)
        self.books = self.trades = 0
        self.delays.clear()
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        found = {"cpu": (time.process_time() - cpu) / took, "books": self.books / took, "trades": self.trades / took}
        if self.errors:
            print(self.errors, file=sys.stderr)
        if self.delays:
            delays = sorted(self.delays)
            found |= {f"p{part}": delays[len(delays) * part // 100] / 1e6 for part in (50, 99)}
        return found


async def read_here(venue: str, rest_url: str, ws_url: str, seconds: float) -> dict[str, Any]:
    where = ExchangeConfig(venue, rest_url=rest_url, ws_url=ws_url)
    coins = [CoinConfig(coin) for coin in DEFAULT_COINS]
    tally = Tally()

    def on_book(book: OrderBook) -> None:
        tally.delays.append(time.time_ns() - book.received_at)
        tally.on_book(book.coin)

    def on_trade(trade: TradeEvent) -> None:
        tally.on_trades(trade.coin, 1)

    feed = MarketFeed(settings=Settings(coins=coins, exchanges=[where], channels=["trades"]))
    feed.subscribe_books(on_book, depth=DEPTH)
    feed.subscribe_trades(on_trade)
    async with feed:
        return await tally.measured(seconds)


async def read_floor(venue: str, rest_url: str, ws_url: str, seconds: float) -> dict[str, Any]:
    tally = Tally()

    class Callbacks:
        def on_book(self, book: OrderBook) -> None:
            tally.on_book(book.coin)

        def on_trade(self, trade: TradeEvent) -> None:
            tally.on_trades(trade.coin, 1)

    connections = await floor_books.connect(list(DEFAULT_COINS), rest_url, ws_url, Callbacks())
    try:
        return await tally.measured(seconds)
    finally:
        for connection in connections:
            connection.disconnect()


async def read_ccxt(venue: str, rest_url: str, ws_url: str, seconds: float) -> dict[str, Any]:
    import ccxt
    import ccxt.pro

    options = {
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        "streamLimits": {"spot": 1},
        "subscriptionLimitByStream": {"spot": 1024},
    }
    exchange = getattr(ccxt.pro, venue)({"options": options})
    _redirect(exchange.urls["api"], rest_url, ws_url)
    await exchange.load_markets()
    symbols = [f"{coin}/USDT" for coin in DEFAULT_COINS]
    tally = Tally()

    async def books(symbol: str) -> None:
        depth = 50 if venue == "bybit" else DEPTH
        while True:
            try:
                book = await exchange.watch_order_book_for_symbols([symbol], depth)
            except ccxt.BaseError as error:
                await tally.failed(error)
                continue
            bids, asks = book["bids"][:DEPTH], book["asks"][:DEPTH]
            if bids and asks:
                tally.on_book(symbol.partition("/")[0])

    async def trades(symbol: str) -> None:
        while True:
            try:
                tally.on_trades(symbol.partition("/")[0], len(await exchange.watch_trades_for_symbols([symbol])))
            except ccxt.BaseError as error:
                await tally.failed(error)

    loops = [asyncio.create_task(loop(symbol)) for symbol in symbols for loop in (books, trades)]
    try:
        return await tally.measured(seconds)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await exchange.close()


def _redirect(addresses: dict[str, Any], rest_url: str, ws_url: str) -> None:
    for key, value in addresses.items():
        if isinstance(value, dict):
            _redirect(value, rest_url, ws_url)
        elif isinstance(value, str) and "://" in value:
            scheme, _, rest = value.partition("://")
            addresses[key] = f"{ws_url if scheme.startswith('ws') else rest_url}" + (
                f"/{rest.partition('/')[2]}" if "/" in rest else ""
            )


READERS = {"market-feed": read_here, "ccxt.pro loops": read_ccxt, "same-job floor": read_floor}
ONLY_BINANCE = {"same-job floor"}


async def compare(venue: str, seconds: float, rounds: int, rate: float) -> None:
    readers = [name for name in READERS if venue == "binance" or name not in ONLY_BINANCE]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in readers}
    async with Simulator(venues=(venue,), rate=rate, laws=False) as simulator:
        for _ in range(rounds):
            for name in readers:
                command = [sys.executable, "-m", "tests.benchmarks.books", "--venue", venue, "--seconds", str(seconds)]
                command += ["--reader", name, "--urls", simulator.rest_url, simulator.ws_url]
                reader = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                try:
                    async with asyncio.timeout(WITHIN + SETTLED + 3 * seconds + 60):
                        told, _ = await reader.communicate()
                except TimeoutError:
                    reader.kill()
                    raise
                found[name].append(json.loads(told))
    print(f"{venue}, {len(DEFAULT_COINS)} coins, depth {DEPTH}, {rate:g} trades/s: the least of {rounds} rounds")
    cpu = {}
    for name, rows in found.items():
        least = {key: min(row[key] for row in rows) for key in rows[0]}  # other programs only make a run slower
        cpu[name] = least["cpu"]
        line = f"  {name:16} {100 * least['cpu']:6.1f} % of a core, {least['books']:6.0f} books/s"
        line += f", {least['trades']:6.0f} trades/s"
        if "p99" in least:
            line += f", frame to callback p50 {least['p50']:.3f} ms, p99 {least['p99']:.3f} ms"
        print(line)
    for name in readers[1:]:
        print(f"  market-feed / {name}: {cpu['market-feed'] / cpu[name]:.2f}")


async def path(runs: int = 60) -> None:
    own: list[tuple[Take, Any]] = []
    make = RowHandler.taker

    def taken(handler: RowHandler, blame: Blame) -> Take | None:
        take = make(handler, blame)
        if take is not None and handler.books is not None:
            own.append((take, handler.books._own))
        return take

    RowHandler.taker = taken  # type: ignore[method-assign, assignment] # the feed's own function is measured
    draw, seen = random.Random(1), 0

    def on_book(book: OrderBook) -> None:
        nonlocal seen
        seen += 1

    async with Simulator(venues=("binance",), rate=20) as simulator:
        where = ExchangeConfig("binance", rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        coins = [CoinConfig(coin) for coin in DEFAULT_COINS]
        feed = MarketFeed(settings=Settings(coins=coins, exchanges=[where], channels=["trades"]))
        feed.subscribe_books(on_book, depth=DEPTH)
        async with feed:
            take, keeper = own[-1]
            async with asyncio.timeout(60):
                while not settled(keeper):  # noqa: ASYNC110 - no event can be awaited here
                    await asyncio.sleep(0.1)
            texts = Diffs(keeper._books, draw)
            known = seen
            best = float("inf")
            for _ in range(runs):
                some = [texts.make(market_id) for _ in range(5) for market_id in keeper._books]
                began = time.perf_counter_ns()
                for text in some:
                    take(text)
                best = min(best, (time.perf_counter_ns() - began) / len(some) / 1000)
            assert seen - known == runs * 5 * len(keeper._books), f"{seen - known} books were delivered"
    print(f"{best:.1f} µs from a diff's text to the callback")


def settled(keeper: Any) -> bool:
    """Whether all books are proven, and no book has or awaits a snapshot, which the benchmark's frames would not
    fit."""
    books = keeper._books.values()
    return not keeper._renewing and all(b.proven and b._snapshot is None and not b.wants_snapshot() for b in books)


class Diffs:
    """Frames that continue the current books; each changes 9 levels a side, among them the best level."""

    def __init__(self, books: Mapping[str, Any], draw: random.Random) -> None:
        self._draw = draw
        self._at = {market_id: (book.sequence, book.timestamp) for market_id, book in books.items()}
        self._prices = {
            market_id: [[price for price, _ in side.top(60)] for side in (book.levels.bids, book.levels.asks)]
            for market_id, book in books.items()
        }

    def make(self, market_id: str) -> str:
        last, stamp = self._at[market_id]
        self._at[market_id] = last + 6, stamp + 1
        bids, asks = map(self._side, self._prices[market_id])
        return (
            f'{{"e":"depthUpdate","E":{stamp + 1},"s":"{market_id}","U":{last + 1},"u":{last + 6},'
            f'"b":[{bids}],"a":[{asks}]}}'
        )

    def _side(self, prices: list[float]) -> str:
        places = [0, *(min(int(self._draw.expovariate(0.1)) + 1, len(prices) - 1) for _ in range(8))]
        sizes = (self._draw.randint(1 if place == 0 else 0, 9_999) / 100 for place in places)
        return ",".join(f'["{prices[place]:.8f}","{size:.8f}"]' for place, size in zip(places, sizes, strict=True))


class Proven:
    """A listener that knows which books are proven."""

    def __init__(self) -> None:
        self.coins: set[str] = set()
        self.changed = asyncio.Event()

    def on_book(self, book: OrderBook) -> None:
        self.coins.add(book.coin)
        self.changed.set()

    def on_book_unsynced(self, coin: str, reason: str) -> None:
        self.coins.discard(coin)

    def __getattr__(self, name: str) -> Any:
        return lambda *event: None


async def resubscribe(count: int, settled: float) -> None:
    """Serve ``count`` coins to a reader in a process of its own, and print the rules of the venue that it broke."""
    coins = list(dict.fromkeys(item.coin for item in list_markets(count + 5)))[:count]
    async with Simulator(venues=("binance",), rate=count, coins=coins) as simulator:
        command = [sys.executable, "-m", "tests.benchmarks.books", "--resubscribe", "--settled", str(settled)]
        command += ["--coins", ",".join(coins), "--urls", simulator.rest_url, simulator.ws_url]
        reader = await asyncio.create_subprocess_exec(*command)
        await reader.wait()
        print(f"violations of the venue's laws: {simulator['binance'].violations}")


async def read_again(coins: list[str], settled: float, rest_url: str, ws_url: str) -> None:
    venue: Any = open_exchange("binance", Access(rest_url=rest_url, ws_url=ws_url))
    await venue.load()
    proven, count = Proven(), len(coins)
    halves = [coins[: count // 2], coins[count // 2 :]]

    def connect(half: list[str]) -> Any:
        markets = {coin: venue.market(coin) for coin in half}
        return venue.connect(Subscription(markets, ("books",)), proven, lambda: None)

    async def all_proven(when: str) -> list[Any]:
        began, spent, connections = time.monotonic(), time.process_time(), [connect(half) for half in halves]
        runs = [asyncio.create_task(connection.run()) for connection in connections]
        times = []
        while len(proven.coins) < count:
            proven.changed.clear()
            await asyncio.wait_for(proven.changed.wait(), 120)
            times.append((time.monotonic() - began, len(proven.coins)))
        half = next(at for at, there in times if there >= count // 2)
        spent = time.process_time() - spent
        told = f"half of {count} books proven after {half:.2f} s, all after {times[-1][0]:.2f} s"
        print(f"{when}: {told}; {spent:.2f} s of CPU", flush=True)
        return list(zip(connections, runs, strict=True))

    try:
        first = await all_proven("at the start")
        await asyncio.sleep(settled)
        async with aiohttp.ClientSession() as session:
            await session.post(f"{rest_url}/simulator/faults", json={"fault": "cut"})
        await asyncio.gather(*(run for _, run in first), return_exceptions=True)
        for connection, _ in first:
            await connection.close()
        second = await all_proven(f"after a cut {settled:g} s later")
        for connection, run in second:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            await connection.close()
    finally:
        await venue.close()


def compare_sides() -> None:
    """Print the µs per update of one level, for sides of 1,000 levels with changes near the best price."""
    draw = random.Random(1)
    levels = [(60_000 - place * 0.01, 1.0) for place in range(1_000)]
    updates = [
        [(60_000 - min(int(draw.expovariate(0.02)), 999) * 0.01, float(draw.randint(0, 3)))] for _ in range(50_000)
    ]
    side = Side(1)
    side.replace(levels, whole=True)
    began = time.perf_counter()
    for update in updates:
        side.apply(update)
        side.top(DEPTH)
    here = time.perf_counter() - began
    print(f"lists with bisect: {here / len(updates) * 1e6:.2f} µs per update of a level")
    try:
        from sortedcontainers import SortedDict  # type: ignore[import-untyped] # the package has no types
    except ImportError:
        print("sortedcontainers is not installed")
        return
    kept = SortedDict(levels)
    began = time.perf_counter()
    for update in updates:
        for price, size in update:
            if size:
                kept[price] = size
            else:
                kept.pop(price, None)
        kept.values()[: -DEPTH - 1 : -1]
    there = time.perf_counter() - began
    print(f"sortedcontainers:  {there / len(updates) * 1e6:.2f} µs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=("binance", "bybit"), default="binance")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1_000.0)
    parser.add_argument("--sides", action="store_true")
    parser.add_argument("--path", action="store_true")
    parser.add_argument("--resubscribe", action="store_true")
    parser.add_argument("--coins", default="200", help="how many of them")
    parser.add_argument("--settled", type=float, default=120.0)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sides:
        compare_sides()
    elif args.path:
        asyncio.run(path())
    elif args.resubscribe and args.urls:
        asyncio.run(read_again(args.coins.split(","), args.settled, *args.urls))
    elif args.resubscribe:
        asyncio.run(resubscribe(int(args.coins), args.settled))
    elif args.reader:
        rest_url, ws_url = args.urls
        print(json.dumps(asyncio.run(READERS[args.reader](args.venue, rest_url, ws_url, args.seconds))))
    else:
        asyncio.run(compare(args.venue, args.seconds, args.rounds, args.rate))
