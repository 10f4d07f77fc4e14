"""``market-feed check``: tests whether the settings are valid, and which of their venues can be used from here."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from exchanges import venue_time
from exchanges.foreign_text import printable
from feed.channels import BOOKS
from feed.cli.process import Exit, start_log
from feed.cli.process import run as run_process
from feed.cli.reports.diagnosis import PAGE, machine, remedies
from feed.cli.reports.tables import columns
from feed.errors import FeedError
from feed.settings.file import load_settings, settings_source
from feed.settings.schema import ExchangeConfig, Settings
from feed.settings.validation import check

BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"  # a terminal's escape codes
LINE = 2000  # the most characters of a line: a path from the environment may be of any length
AGREES = 1.0  # seconds by which the clocks may differ: the measured difference includes the network's delay
THROTTLED = 0.5  # seconds to wait before the measured request: ccxt's rate limit must not delay it


def run(args: argparse.Namespace) -> int:
    """Print one row per venue, the facts behind it and what to do; returns 3 if no venue works by WebSocket."""
    return run_process(_check(args))


@dataclass(slots=True)
class _Finding:
    """What one venue answered. A time is in seconds; None if the request failed: the reason is in the next field."""

    name: str
    coins: int = 0
    missing: tuple[str, ...] = ()
    halted: tuple[str, ...] = ()  # coins that are listed but not traded now
    rest: float | None = None
    rest_reason: str = ""
    live: float | None = None
    live_reason: str = ""
    book: float | None = None  # time to the first order book, if the settings have the channel
    book_reason: str = ""
    clock: float | None = None  # seconds by which this machine's clock is ahead of the venue's
    proxies: dict[str, str] = field(default_factory=dict)  # address -> the proxy through which it is reached

    def row(self) -> dict[str, Any]:
        """Everything as plain data; times in seconds."""
        return {("exchange" if name == "name" else name): value for name, value in asdict(self).items()}

    def remark(self) -> str:
        """Return what is wrong, or "ok"."""
        if self.rest_reason == self.live_reason:
            wrong = [self.rest_reason]
        else:
            wrong = [
                self.rest_reason and f"REST: {self.rest_reason}",
                self.live_reason and f"WebSocket: {self.live_reason}",
            ]
        wrong += [f"order books: {self.book_reason}"] if self.book_reason and self.live is not None else []
        wrong += [f"does not list {', '.join(self.missing)}"] if self.missing and self.coins else []
        wrong += [f"has halted {', '.join(self.halted)}"] if self.halted and self.coins else []
        return "; ".join(filter(None, wrong)) or "ok"


async def _check(args: argparse.Namespace) -> int:
    start_log(args.log_level or "ERROR")
    settings = load_settings(args.settings)
    if args.exchange:
        known = {exchange.name: exchange for exchange in settings.exchanges}
        settings.exchanges = [known.get(name) or ExchangeConfig(name) for name in args.exchange]
        check(settings)
    findings = await asyncio.gather(*(_ask(exchange, settings, args.timeout) for exchange in settings.exchanges))
    facts = machine(str(settings_source(args.settings)))
    clocks = {each.name: said for each in findings if (said := venue_time.wrong_by(each.clock, each.name)) is not None}
    advice = remedies([each.row() for each in findings], facts, clocks)
    works = any(each.live is not None for each in findings)
    if args.json:
        print(json.dumps({**facts, "exchanges": [each.row() for each in findings], "works": works, "advice": advice}))
    else:
        table = _table(findings, len(settings.coins), BOOKS.name in settings.channels)
        print("\n".join([*table, "", *_facts(facts, findings), "", *_to_do(advice, works)]))
    return Exit.OK if works else Exit.NO_VENUE


def _table(findings: Sequence[_Finding], coins: int, books: bool) -> list[str]:
    rows = [
        (
            each.name,
            f"{each.coins}/{coins}",
            _milliseconds(each.rest),
            _milliseconds(each.live),
            *([_milliseconds(each.book)] if books else []),
            each.remark(),
        )
        for each in findings
    ]
    names = ("exchange", "coins", "REST", "first data", *(["first book"] if books else []), "remark")
    head, *lines = columns(names, rows).splitlines()
    return [_styled(BOLD, head), *(_styled(_color(each), line) for each, line in zip(findings, lines, strict=True))]


def _color(finding: _Finding) -> str:
    return RED if finding.live is None else GREEN if finding.remark() == "ok" else YELLOW


def _facts(facts: Mapping[str, Any], findings: Sequence[_Finding]) -> list[str]:
    """The facts behind the table, one line each."""
    clocks = [f"{each.name} {_difference(each.clock)}" for each in findings]
    proxies = dict.fromkeys(proxy for each in findings for proxy in each.proxies.values())
    cache = facts["cache"]
    lines = {
        "clock": "; ".join(clocks),
        "proxy": "; ".join(proxies) or "none",
        "certificates": " and ".join(facts["certificates"]["trusted"]),
        "settings": facts["settings"],
        "cache": cache["problem"] or cache["folder"] or "none",
        "transport": facts["transport"],
        "ccxt": facts["ccxt"],
        "python": facts["python"],
        "market-feed": facts["market_feed"],
    }
    return [f"{name:<13} {printable(text, LINE)}" for name, text in lines.items()]


def _difference(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return "agrees" if abs(seconds) < AGREES else venue_time.span(seconds).removesuffix(" of")


def _to_do(advice: Sequence[str], works: bool) -> list[str]:
    if not advice:
        return [_styled(BOLD, "what to do:") + " nothing, everything works"]
    return [_styled(BOLD, "what to do:"), *(f"- {printable(line, LINE)}" for line in advice), f"- {PAGE}"]


def _styled(code: str, text: str) -> str:
    """``text`` unchanged, or in colour on a terminal."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _milliseconds(seconds: float | None) -> str:
    return "failed" if seconds is None else f"{seconds * 1000:.0f} ms"


async def _ask(exchange: ExchangeConfig, settings: Settings, timeout: float) -> _Finding:
    finding = _Finding(exchange.name)
    await _ask_rest(exchange, settings, timeout, finding)
    await _ask_websocket(exchange, settings, timeout, finding)
    return finding


async def _ask_rest(exchange: ExchangeConfig, settings: Settings, timeout: float, finding: _Finding) -> None:
    """Load the markets, look up the coins, and measure one small request."""
    from exchanges import open_exchange
    from exchanges.errors import Halted, Rejected, VenueError
    from feed.sessions.shared_venue import access_of

    access = access_of(exchange, settings)
    access = replace(access, timeout=min(timeout, access.timeout), bus=None)
    missing: list[str] = []
    halted: list[str] = []
    try:
        venue = open_exchange(exchange.name, access)
    except VenueError as error:
        finding.rest_reason = error.reason
        return
    try:
        async with asyncio.timeout(timeout):
            finding.proxies = {url: str(proxy) for url, proxy in venue.proxies.items() if proxy is not None}
            await venue.refresh()
            with suppress(VenueError):  # the clock stays unknown if the venue has no such request, or does not answer
                await venue.fetch_time()
                finding.clock = venue_time.local_error(exchange.name)
            symbols = {}
            for coin in settings.coins:
                try:
                    symbols[coin.symbol] = venue.market(coin.symbol, coin.markets.get(exchange.name))
                except Rejected as refusal:
                    (halted if isinstance(refusal, Halted) else missing).append(coin.symbol)
            finding.coins = len(symbols)
            finding.missing, finding.halted = tuple(missing), tuple(halted)
            if not symbols:
                none = [f"lists none of {', '.join(missing)}"] if missing else []
                finding.rest_reason = "; ".join(none + ([f"has halted {', '.join(halted)}"] if halted else []))
            else:
                await asyncio.sleep(THROTTLED)
                start = time.perf_counter()
                await venue.fetch_tickers(dict([next(iter(symbols.items()))]))
                finding.rest = time.perf_counter() - start
    except VenueError as error:
        finding.rest_reason = error.reason
    except TimeoutError:
        finding.rest_reason = f"no answer within {timeout:g} s"
    finally:
        await venue.close()


async def _ask_websocket(exchange: ExchangeConfig, settings: Settings, timeout: float, finding: _Finding) -> None:
    """Measure the time from the dial to the first data. A failure is the result; there is no second attempt."""
    from feed import MarketFeed

    dialled = 0.0
    failed = asyncio.Event()

    def on_status(event: str, details: dict[str, Any]) -> None:
        nonlocal dialled
        if event == "connecting":
            dialled = time.perf_counter()
        elif str(details.get("error", "")).startswith(venue_time.CLOCK):
            pass  # the clock has a line of its own in the output, and a wrong clock loses no data
        elif event in ("error", "exchange_blocked", "disconnected"):
            finding.live_reason = finding.live_reason or str(details.get("error") or details.get("reason"))
            failed.set()

    booked = asyncio.Event()
    feed = MarketFeed(settings=replace(settings, exchanges=[exchange]))
    feed.subscribe_status(on_status)
    if BOOKS.name in settings.channels:
        feed.subscribe_books(lambda book: booked.set())
    connecting = asyncio.create_task(feed.connect(timeout=timeout))
    failing = asyncio.create_task(failed.wait())
    try:
        await asyncio.wait({connecting, failing}, return_when=asyncio.FIRST_COMPLETED)
        if not failed.is_set():
            await connecting
            finding.live = time.perf_counter() - dialled
            if BOOKS.name in settings.channels:
                await _ask_book(booked, dialled, timeout, finding)
    except FeedError as error:
        reasons: dict[str, str] = getattr(error, "reasons", {})
        finding.live_reason = "; ".join(reasons.values()) or str(error)
    finally:
        failing.cancel()
        connecting.cancel()
        await asyncio.gather(connecting, failing, return_exceptions=True)
        await feed.disconnect()


async def _ask_book(booked: asyncio.Event, dialled: float, timeout: float, finding: _Finding) -> None:
    """Measure the time from the dial to the first proven order book."""
    try:
        async with asyncio.timeout(timeout):
            await booked.wait()
    except TimeoutError:
        finding.book_reason = f"none was proven within {timeout:g} s"
    else:
        finding.book = time.perf_counter() - dialled
