"""One venue over its ccxt.pro class: its markets, its REST requests (trades, candles, tickers), its connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from copy import deepcopy
from functools import partial
from itertools import starmap
from typing import Any

from loguru import logger

from exchanges import normalize, venue_time
from exchanges.ccxt_adapter import history_pages
from exchanges.ccxt_adapter.bans import Quiet
from exchanges.ccxt_adapter.books.snapshots import VenueSnapshots
from exchanges.ccxt_adapter.ccxt_import import VERSION
from exchanges.ccxt_adapter.errors import FINAL_OVER_REST, told, translated
from exchanges.ccxt_adapter.instance import (
    at_once,
    close_instance,
    forget,
    left_alone,
    make_instance,
    proxies,
    tickers_of,
)
from exchanges.ccxt_adapter.markets.disk_cache import MarketCache, market_cache
from exchanges.ccxt_adapter.markets.loading_in_parts import load_in_parts
from exchanges.ccxt_adapter.markets.markets import Markets
from exchanges.ccxt_adapter.markets.table import MarketTable, taken_from
from exchanges.ccxt_adapter.markets.table_bytes import compacted, give_back_memory
from exchanges.ccxt_adapter.markets.unreadable_rows import load_markets
from exchanges.ccxt_adapter.markets.worker import run_aside
from exchanges.ccxt_adapter.stream.channels import streamed
from exchanges.ccxt_adapter.stream.connection import CcxtConnection
from exchanges.ccxt_adapter.stream.dial_rate import DialRate
from exchanges.ccxt_adapter.stream.row_handler import contract_size
from exchanges.ccxt_adapter.trade_ids import TradeReader
from exchanges.ccxt_adapter.transport.proxies import Proxy
from exchanges.errors import Rejected, VenueError
from exchanges.events import Candle, Listener, Ticker, TradeEvent
from exchanges.foreign_text import Cleaner
from exchanges.venue import Access, Limits, Subscription
from exchanges.venues.find import profile_of
from exchanges.venues.profile import MARKET_ID, Profile
from exchanges.venues.units import of_coin, units_of

HISTORY_PAGE = 100  # past candles in one REST answer, if ccxt's features name no limit
NAMED = 100  # the most markets that one request names; for more, all markets are requested
CANDLES = 1000  # the most candles of one request, if ccxt's features name no lower limit


class CcxtVenue:
    """A venue over ccxt. Its markets are loaded once and shared by all its streams."""

    def __init__(self, profile: Profile, access: Access) -> None:
        self.name = profile.name
        self.profile = profile
        self.access = access
        self._api = make_instance(profile, access)
        self._quiet = Quiet(access.rest_url, access.ws_url, profile.name, access.market_type, access.proxy)
        self.clean = Cleaner(access.secrets())
        self._pace = DialRate(*profile.sockets) if profile.sockets is not None else None
        own = profile.books.own
        rules = None if own is None else own.snapshots
        self._snapshots = None if rules is None else VenueSnapshots(rules, self._api, self._urgent)
        self._markets = Markets(profile, access, self._api, _cache(profile, access), self._ask)

    def __repr__(self) -> str:
        return f"<Venue {self.name} {self.access.market_type}, {len(self._api.markets or ())} markets>"

    @property
    def limits(self) -> Limits:
        """What the venue allows."""
        return self.profile.limits

    @property
    def loaded(self) -> bool:
        return bool(self._api.markets)

    @property
    def can_fetch_trades(self) -> bool:
        """Whether public trades can be fetched over REST."""
        return bool(self._api.has.get("fetchTrades"))

    def streams(self, channel: str) -> bool:
        """Whether a connection delivers the channel."""
        return channel in streamed(self._api)

    @property
    def aged(self) -> bool:
        """Whether the markets come from disk and are so old that they should be requested again soon."""
        return self._markets.aged

    async def load(self, coins: Mapping[str, str | None] | None = None, *, anew: bool = False) -> None:
        """Load the markets of the wanted type unless they are loaded. Raises VenueError.

        A list from disk is used, unless one of ``coins`` (coin -> override, as in ``market``) is missing or halted in
        it. With ``anew``, the venue is also asked again if a coin is missing or halted in its earlier answer; at most
        once a second. A caller may be cancelled: the load continues for the other callers.
        """
        await self._markets.load(coins or {}, anew=anew)

    async def refresh(self) -> Collection[str]:
        """Ask the venue for its markets again; return the symbols whose meaning has changed. Raises VenueError. A
        market that is gone is kept as not traded, for running streams; ``market`` refuses it.
        """
        return await self._markets.refresh()

    def market(self, coin: str, override: str | None = None) -> str:
        """The market symbol of ``coin``: ``override``, or the market with the first quote currency that the venue has.

        Raises Halted for a market that is listed and not traded now, else Rejected, which says what was looked for.
        Markets must be loaded.
        """
        return self._markets.symbol(coin, override)

    def market_id(self, symbol: str) -> str:
        """The venue's own id of a market. Markets must be loaded."""
        return str(self._api.markets[symbol]["id"])

    async def _ask(self) -> MarketTable:
        async with self._translated():
            return await run_aside(partial(_listed, self.profile, self.access))

    async def fetch_time(self) -> int | None:
        """The venue's clock, Unix ms; None if the venue has no such request. Raises VenueError."""
        if self._api.has.get("fetchTime") is not True:
            return None
        async with self._urgent():
            said = normalize.milliseconds(await self._api.fetch_time())
        if said is not None:
            venue_time.tell(self.name, said)
        return said

    async def fetch_tickers(self, markets: Mapping[str, str]) -> list[Ticker]:
        """The 24 h summary of each coin in ``markets`` (coin -> symbol), over REST. Raises VenueError."""
        named = list(markets.values())
        async with self._translated():
            if self._api.has.get("fetchTickers"):
                every = self.profile.all_tickers or len(named) > NAMED
                with tickers_of({self.market_id(symbol) for symbol in named}):
                    rows = await self._api.fetch_tickers(None if every else named)
            else:
                rows = {symbol: await self._api.fetch_ticker(symbol) for symbol in markets.values()}
        now, listed = time.time_ns(), self._api.markets

        def read(coin: str, symbol: str) -> Ticker | None:
            scale = contract_size(listed[symbol])
            volume_scale = scale if self.profile.tickers_in_contracts else 1.0
            return normalize.ticker(rows.get(symbol), coin, self.name, now, scale, volume_scale, symbol)

        told = (ticker for ticker in starmap(read, markets.items()) if ticker is not None)
        return [of_coin(ticker, units_of(ticker.coin, ticker.market)) for ticker in told]

    async def fetch_trades(
        self, coin: str, symbol: str, from_id: int | None = None, limit: int | None = None
    ) -> list[TradeEvent]:
        """Public trades with the stream's own ids over REST, oldest first: the newest, or from ``from_id`` on.

        ``from_id`` is allowed only if the limits have ``older_trades``. Returns at most ``limit`` trades, and at most
        ``recent_trades``. Raises VenueError.
        """
        profile = self.profile
        params = profile.recent_trades if from_id is None else {**profile.older_trades, "fromId": from_id}
        market_id = self._api.markets[symbol]["id"]
        params = {key: market_id if value == MARKET_ID else value for key, value in params.items()}
        async with self._urgent():
            most = min(limit or self.limits.recent_trades, self.limits.recent_trades)
            rows = await self._api.fetch_trades(symbol, limit=most, params=params)
        now = time.time_ns()
        scale = contract_size(self._api.markets[symbol])
        reader = TradeReader(profile)
        units = units_of(coin, symbol)
        on_book = (row for row in rows if not profile.is_off_book(row.get("info")))
        read = (reader.read(row, coin, now, scale, symbol) for row in on_book)
        return sorted((of_coin(trade, units) for trade in read if trade is not None), key=_place)

    def connect(
        self, subscription: Subscription, listener: Listener, on_going_down: Callable[[], None]
    ) -> CcxtConnection:
        """A new connection, not dialled yet. Markets must be loaded.

        ``on_going_down`` is called when the venue announces that it will end the connection soon.
        """
        exchange = make_instance(self.profile, self.access)
        exchange.pace = self._pace
        exchange.quiet = self._quiet
        self._markets.give(exchange)
        return CcxtConnection(
            exchange,
            subscription,
            listener,
            on_going_down=on_going_down,
            translate=self._dial_failed,
            clean=self.clean,
            release=partial(close_instance, exchange),
            renew=partial(self._markets.give, exchange),
            snapshots=self._snapshots,
        )

    async def close(self) -> None:
        """Release the REST session; streams are closed one by one."""
        await self._markets.close()
        await close_instance(self._api)

    async def fetch_candles(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        """A market's candles that opened at ``since`` (Unix ms) or later, marked as closed. Raises VenueError."""
        async with self._urgent():
            most = self._api.feature_value(symbol, "fetchOHLCV", "limit") or CANDLES
            rows = await self._api.fetch_ohlcv(symbol, timeframe, since=since, limit=min(most, CANDLES))
        return self._candles(rows, coin, symbol, timeframe)

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The timeframes of the venue's candles over REST; empty if it has no candles there."""
        return tuple(self._api.timeframes or ()) if self._api.has.get("fetchOHLCV") is True else ()

    async def fetch_history(self, coin: str, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """The newest ``limit`` candles of a market, oldest first, or as many as the venue has; all marked as closed.

        The request waits for its turn among other requests to the venue. Raises VenueError.
        """
        api = self._api
        async with self._translated():
            most = api.feature_value(symbol, "fetchOHLCV", "limit") or HISTORY_PAGE

            async def page(since: int | None, rows: int) -> Any:
                return await api.fetch_ohlcv(symbol, timeframe, since=since, limit=rows)

            rows = await history_pages.newest(page, limit, most, api.parse_timeframe(timeframe) * 1000)
        return self._candles(rows, coin, symbol, timeframe)

    def _candles(self, rows: Iterable[Any], coin: str, symbol: str, timeframe: str) -> list[Candle]:
        """The candles in ccxt's OHLCV rows, marked as closed; volumes that count contracts become base currency."""
        now, units = time.time_ns(), units_of(coin, symbol)
        scale = contract_size(self._api.markets[symbol]) if self.profile.candles_in_contracts else 1.0
        read = (normalize.candle(row, coin, timeframe, self.name, now, True, scale, symbol) for row in rows)
        return [of_coin(candle, units) for candle in read if candle is not None]

    @contextlib.asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Translate a request's errors. Raises Disconnected at once until a Retry-After of the venue has passed."""
        if (wait := self._quiet.left(dial=False)) > 0:
            raise left_alone(self.name, wait)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - ccxt's parsers may raise anything on an unexpected answer
            self._log(error)
            self._quiet.note(told(self.name, error), dial=False)
            failure = translated(self.name, error, FINAL_OVER_REST, self.clean)
            try:
                raise failure from None
            finally:
                failure.__context__ = None  # ccxt's and aiohttp's texts may quote a password

    @contextlib.asynccontextmanager
    async def _urgent(self) -> AsyncIterator[None]:
        """Like ``_translated``, for requests that fill gaps: waiting for ccxt's rate limit would lose trades."""
        with at_once():
            async with self._translated():
                yield

    def _dial_failed(self, error: Exception) -> VenueError:
        """The error with which a connection has ended or failed."""
        self._log(error)
        self._quiet.note(told(self.name, error), dial=True)
        return translated(self.name, error, clean=self.clean)

    def _log(self, error: Exception) -> None:
        logger.opt(lazy=True).debug("{}", lambda: self.clean.lines("".join(traceback.format_exception(error))))

    @property
    def proxies(self) -> Mapping[str, Proxy | str | None]:
        """The venue's REST and WebSocket addresses, each with its proxy or None; a text if the proxy is wrong."""
        return proxies(self._api, self.access)


def open_venue(name: str, access: Access | None = None) -> CcxtVenue:
    """The ccxt exchange with this name. Raises the errors of :func:`exchanges.registry.open_exchange`."""
    access = access or Access()
    return CcxtVenue(profile_of(name).for_market_type(access.market_type), access)


def _cache(profile: Profile, access: Access) -> MarketCache | None:
    """The venue's cache file; each combination of the values on which the list depends has its own file."""
    asked = access.options.get("market_cache")
    key = (access.market_type, profile.lean, {**profile.options}, {**access.options}, VERSION)
    try:
        return market_cache(asked, access.rest_url, profile.name, *key)
    except ValueError as error:
        raise Rejected(profile.name, str(error)) from None


async def _listed(profile: Profile, access: Access) -> MarketTable:
    """Ask a venue for its markets; this runs in a thread with a loop of its own."""
    table = compacted(await _parsed_by_ccxt(profile, access))
    give_back_memory()
    return table


async def _parsed_by_ccxt(profile: Profile, access: Access) -> MarketTable:
    """Load a venue's markets with a ccxt instance made for this."""
    exchange = make_instance(profile, access)
    exchange.parses_in_turns = True
    exchange.clean = lambda: Cleaner(access.secrets())
    exchange.timeout_on_exit = 0  # does not wait for TLS connections to end: nothing else runs on this loop
    taken = partial(taken_from, exchange, deepcopy(exchange.options), time.time(), lean=profile.lean)
    try:
        if profile.lean:
            return await load_in_parts(exchange, taken)
        await load_markets(exchange, rows_by_place=profile.rows_by_place)
        return taken()
    finally:
        await _to_its_end(asyncio.create_task(close_instance(exchange)))
        forget(exchange)


async def _to_its_end(closing: asyncio.Task[None]) -> None:
    """Await ``closing`` to its end even if this is cancelled: a half-closed instance leaves its session open."""
    cancelled: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            await asyncio.wait({closing})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    closing.result()


def _place(trade: TradeEvent) -> tuple[int, int]:
    """The sort key of a trade; ccxt sorts the trades of one millisecond by their ids as text."""
    return trade.timestamp, int(trade.trade_id) if trade.trade_id.isdecimal() else 0
