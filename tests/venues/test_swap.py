"""Sizes of linear perpetuals are in base units, and a failover may lead from spot to a swap."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import time_ns

import pytest

from feed import MarketFeed, Quote
from tests.support import PATIENCE, Recorder, until
from tests.venues.contract import AHEAD, at, session_at
from tests.venues.market import PRICES, REST_FACTOR, Day, Deal, rest_day
from tests.venues.wire import Wire, market_type, names, venue, venue_name

SWAPS = [name for name in names() if market_type(name) == "swap"]
COINS = ("BTC", "ETH")  # on OKX their contracts have different sizes
OF_REST = PRICES["BTC"] * REST_FACTOR


def settings_yaml(folder: Path, wires: Iterable[Wire]) -> Path:
    """A settings file with these venues in this order, and short times until a failover."""
    lines = ["coins: [BTC]", "channels: [trades, ticker]", "exchanges:"]
    for wire in wires:
        kind = market_type(wire.name)
        urls = f"rest_url: http://{wire.address}, ws_url: ws://{wire.address}, options: {{market_cache: false}}"
        lines.append(f"  - {{name: {venue_name(wire.name)}, market_type: {kind}, {urls}}}")
    lines.append("connection: {backoff_initial: 0.05, attempts_before_failover: 1}")
    file = folder / "settings.yaml"
    file.write_text("\n".join(lines))
    return file


def deal(number: int, price: float) -> Deal:
    return Deal("BTC", number, price, 0.25, True, time_ns() // 1_000_000 + AHEAD + number)


async def asked_and_told(wire: Wire, made: Deal) -> None:
    """Make a trade as soon as a client is subscribed."""
    await wire.until_asked({("trades", "BTC")})
    await wire.say("trades", "BTC", wire.script.trades([made]))


@pytest.mark.parametrize("name", SWAPS)
async def test_each_quote_comes_once_with_sizes_in_base_units(name: str) -> None:
    """Bybit's quotes are the best levels of its order books, which ccxt keeps twice."""
    async with venue(name) as wire:
        feed = at(wire, COINS, ["quotes"])
        quotes: list[Quote] = []
        feed.subscribe_quotes(quotes.append)
        connecting = asyncio.create_task(feed.connect())
        try:
            await wire.until_asked({("quotes", coin) for coin in COINS})
            now = time_ns() // 1_000_000
            days = {coin: Day(coin, PRICES[coin], PRICES[coin], 1.0, now) for coin in COINS}
            for coin in COINS:
                await wire.say("quotes", coin, wire.script.quote(days[coin], 1.5, 2.5))  # type: ignore[attr-defined] # only scripts of swaps have it
            await until(lambda: len(quotes) >= len(COINS))
            assert [replace(quote, received_at=0) for quote in quotes] == [
                Quote(coin, day.bid, 1.5, day.ask, 2.5, now, venue_name(name), market=f"{coin}/USDT:USDT")
                for coin, day in days.items()
            ]
            await connecting
            assert wire.violations == []
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await feed.disconnect()


@pytest.mark.parametrize("name", SWAPS)
async def test_the_24_h_turnover_over_rest_is_in_quote_currency(name: str) -> None:
    async with venue(name) as wire:
        session = session_at(wire)
        try:
            await session.load()
            tickers = await session.fetch_tickers({coin: session.market(coin) for coin in COINS})
            for ticker in tickers:
                day = rest_day(ticker.coin, 0)
                assert (ticker.last, ticker.volume_24h, ticker.change_24h) == pytest.approx(
                    (day.last, day.turnover, day.change)
                )
            assert {ticker.coin for ticker in tickers} == set(COINS)
        finally:
            await session.close()


@pytest.mark.parametrize(("first", "second"), [("okx_swap", "bybit_swap"), ("okx", "binance_swap")])
async def test_after_a_failover_another_venues_swap_is_delivered_for_the_same_coin(
    first: str, second: str, tmp_path: Path
) -> None:
    """One failover is from a spot market to a swap, which is another market. Every tick names its venue."""
    async with AsyncExitStack() as stack:
        spare = await stack.enter_async_context(venue(second))
        primary = await stack.enter_async_context(AsyncExitStack())
        wire = await primary.enter_async_context(venue(first))
        feed = MarketFeed(settings=str(settings_yaml(tmp_path, [wire, spare])))
        got = Recorder(feed)
        stack.push_async_callback(feed.disconnect)
        telling = asyncio.create_task(asked_and_told(wire, deal(1, 64_000.0)))
        await feed.connect()
        await telling
        await got.until(lambda: len(got.trades) == 1)
        await primary.aclose()
        moved = await got.until_event("failover")
        assert (moved["from"], moved["to"]) == (venue_name(first), venue_name(second))
        await asked_and_told(spare, deal(2, 70_000.0))
        await got.until(lambda: len(got.trades) == 2)
        assert [(trade.coin, trade.exchange, trade.price, trade.quantity) for trade in got.trades] == [
            ("BTC", venue_name(first), 64_000.0, 0.25),
            ("BTC", venue_name(second), 70_000.0, 0.25),
        ]
        changes = [(told["from"]["market"], told["to"]["market"]) for told in got.details("market_changed")]
        assert changes == ([("BTC/USDT", "BTC/USDT:USDT")] if market_type(first) == "spot" else [])
        assert {tick.coin for tick in got.prices} == {"BTC"}
        made = {venue_name(first): {64_000.0, OF_REST}, venue_name(second): {70_000.0, OF_REST}}
        assert all(tick.price in made[tick.exchange] for tick in got.prices)
        last = feed.get_price("BTC")
        assert last is not None
        assert (last.price, last.exchange) == (70_000.0, venue_name(second))


async def test_check_reports_that_swap_venues_work(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(venue(name)) for name in SWAPS]
        file = settings_yaml(tmp_path, wires)
        command = [sys.executable, "-m", "feed", "check", "--settings", str(file)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "COLUMNS": "200"}
        )
        telling = [asyncio.create_task(asked_and_told(wire, deal(1, 64_000.0))) for wire in wires]
        try:
            async with asyncio.timeout(2 * PATIENCE):
                printed, _ = await process.communicate()
                await asyncio.gather(*telling)
        finally:
            for task in telling:
                task.cancel()
        table = printed.decode().partition("\n\n")[0]  # without the advice and the facts about the machine
        rows = [line.split() for line in table.splitlines()[1:]]
        assert [(row[0], row[1], row[-1]) for row in rows] == [(venue_name(name), "1/1", "ok") for name in SWAPS]
        assert process.returncode == 0
        assert [wire.missing for wire in wires] == [[], [], []]
