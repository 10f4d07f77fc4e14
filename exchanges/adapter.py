"""One venue over the real ccxt.pro class: its markets, its REST answers, its streams. The only importer of ccxt.

ccxt's errors end here: what leaves is Disconnected, Refused or Blocked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import ccxt.pro
import msgspec

from exchanges import normalize, past
from exchanges.aside import parse_in_turns, run_aside
from exchanges.bars import Bars
from exchanges.channels import source_of_quotes, streamed
from exchanges.delivery import contract_size, volume_scale
from exchanges.errors import Blocked, Disconnected, Refused, VenueError
from exchanges.events import Candle, Listener, Ticker, TradeEvent
from exchanges.fence import abort, hang_up, redirect
from exchanges.market_cache import MarketCache, market_cache
from exchanges.market_table import MarketTable, taken_from
from exchanges.markets import Markets
from exchanges.names import exchange_names
from exchanges.pace import Pace
from exchanges.profiles import MARKET_ID, Access, Profile
from exchanges.stream import Stream, Subscription
from exchanges.trades import TradeReader
from exchanges.transport import transport_for
from exchanges.venues import profile_of

# ccxt paces requests and subscriptions by the wall clock: set back by an hour, it would hold them for that hour.
import_module("ccxt.async_support.base.throttler").time = time.monotonic  # type: ignore[attr-defined] # ccxt's own

BLOCKED = frozenset({403, 451})  # HTTP statuses for a place that the venue does not serve
CLOSE_GRACE = 1.0  # seconds given to the closing handshake before the socket is dropped
REASON = 200  # characters of a reason
LONGEST_BAN = 259_200.0  # seconds, 3 days: Binance's own bans last no longer; whoever asks for more has slipped
HISTORY_PAGE = 100  # past bars of one REST answer, where ccxt's features name no limit
NAMED = 100  # markets that are named in the address of one request; to ask for more is to ask for all
CANDLES = 1000  # bars that are asked for at once, where ccxt's features name no lower limit


class Venue:
    """A venue as the feed sees it. Markets are loaded once and shared by every stream that is opened on it."""

    def __init__(self, profile: Profile, access: Access) -> None:
        self.name = profile.name
        self.profile = profile
        self.access = access
        self._api = _session(profile, access)
        self._fills = _session(profile, access)  # for filling gaps: a burst of requests is lawful, waiting loses trades
        self._fills.enableRateLimit = False
        self._quiet_until = -math.inf  # the venue's Retry-After over REST, monotonic seconds
        self._pace = Pace(*profile.sockets) if profile.sockets is not None else None
        self._markets = Markets(profile, access, (self._api, self._fills), _cache(profile, access), self._ask)

    def __repr__(self) -> str:
        return f"<Venue {self.name} {self.access.market_type}, {len(self._api.markets or ())} markets>"

    @property
    def loaded(self) -> bool:
        return bool(self._api.markets)

    @property
    def can_fetch_trades(self) -> bool:
        """Whether public trades can be had over REST."""
        return bool(self._api.has.get("fetchTrades"))

    def streams(self, channel: str) -> bool:
        """Whether a connection brings the channel."""
        return channel in streamed(self._api)

    @property
    def aged(self) -> bool:
        """Whether the markets are a list kept on disk, and so old that the venue should be asked soon."""
        return self._markets.aged

    async def load(self, coins: Mapping[str, str | None] | None = None) -> None:
        """Load the markets of the wanted type unless they are there. Raises VenueError.

        A list kept on disk will do, unless it lacks one of ``coins`` (coin -> override, as in ``market``): that may be
        newer. Whoever waits may be cancelled: the others' load goes on.
        """
        await self._markets.load(coins or {})

    async def refresh(self) -> Collection[str]:
        """Ask the venue for its markets again; return the symbols of those that are gone or changed. Raises VenueError.

        What is gone stays known, as not traded, for the streams that still run.
        """
        return await self._markets.refresh()

    def market(self, coin: str, override: str | None = None) -> str:
        """The market symbol of ``coin``: ``override``, or with the first quote currency in which the venue trades it.

        Raises Refused, saying what was looked for. Markets must be loaded.
        """
        return self._markets.symbol(coin, override)

    def market_id(self, symbol: str) -> str:
        """The venue's own id of a market. Markets must be loaded."""
        return str(self._api.markets[symbol]["id"])

    async def _ask(self) -> MarketTable:
        async with self._translated():
            return await run_aside(partial(_listed, self.profile, self.access))

    async def fetch_tickers(self, markets: Mapping[str, str]) -> list[Ticker]:
        """The 24 h summary of each coin in ``markets`` (coin -> symbol), over REST. Raises VenueError."""
        named = list(markets.values())
        async with self._translated():
            if self._api.has.get("fetchTickers"):
                every = self.profile.all_tickers or len(named) > NAMED
                rows = await self._api.fetch_tickers(None if every else named)
            else:
                rows = {symbol: await self._api.fetch_ticker(symbol) for symbol in markets.values()}
        now, listed = time.time_ns(), self._api.markets
        if field := self.profile.day_change:
            rows = {symbol: {**row, "percentage": row["info"].get(field)} for symbol, row in rows.items()}
        tickers = (
            normalize.ticker(
                rows.get(symbol), coin, self.name, now, volume_scale=volume_scale(self.profile, listed[symbol])
            )
            for coin, symbol in markets.items()
        )
        return [ticker for ticker in tickers if ticker is not None]

    async def fetch_trades(
        self, coin: str, symbol: str, from_id: int | None = None, limit: int | None = None
    ) -> list[TradeEvent]:
        """Public trades with the stream's own ids over REST, oldest first: the newest, or from ``from_id`` on.

        ``from_id`` only where the profile has ``older_trades``. At most ``limit``, and at most ``recent_limit``.
        Raises VenueError.
        """
        profile = self.profile
        params = profile.recent_trades if from_id is None else {**profile.older_trades, "fromId": from_id}
        market_id = self._api.markets[symbol]["id"]
        params = {key: market_id if value == MARKET_ID else value for key, value in params.items()}
        async with self._translated():
            most = min(limit or profile.recent_limit, profile.recent_limit)
            rows = await self._fills.fetch_trades(symbol, limit=most, params=params)
        now = time.time_ns()
        scale = contract_size(self._api.markets[symbol])
        reader = TradeReader(profile)
        read = [reader.read(row, coin, now, scale) for row in rows]
        return sorted((trade for trade in read if trade is not None), key=_place)

    def stream(self, wanted: Subscription, listener: Listener, bars: Bars, on_going_down: Callable[[], None]) -> Stream:
        """A new connection, not dialled yet. Markets must be loaded.

        ``bars`` outlive the connections that follow one another. ``on_going_down``: the venue will cut it soon.
        """
        exchange = _session(self.profile, self.access)
        exchange.pace = self._pace
        self._markets.give(exchange)
        return Stream(
            self.profile,
            exchange,
            wanted,
            listener,
            bars,
            on_going_down=on_going_down,
            ws_url=self.access.ws_url,
            timeout=self.access.timeout,
            translate=partial(_translate, self.name),
            release=partial(_close, exchange),
        )

    async def close(self) -> None:
        """Release the REST sessions; streams are closed one by one."""
        await self._markets.close()
        await asyncio.gather(_close(self._api), _close(self._fills))

    async def fetch_candles(self, symbol: str, timeframe: str, since: int) -> list[Any]:
        """ccxt's OHLCV rows of a market from the bar that opened at ``since`` (Unix ms) on. Raises VenueError."""
        async with self._translated():
            most = self._fills.feature_value(symbol, "fetchOHLCV", "limit") or CANDLES
            rows: list[Any] = await self._fills.fetch_ohlcv(symbol, timeframe, since=since, limit=min(most, CANDLES))
        return rows

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Those of its candles over REST; none where it has no candles there."""
        return tuple(self._api.timeframes or ()) if self._api.has.get("fetchOHLCV") is True else ()

    async def fetch_history(self, coin: str, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """The newest ``limit`` bars of a market, oldest first, fewer where the venue has no more; all as closed.

        The request waits for its turn among the venue's others. Raises VenueError.
        """
        api = self._api
        async with self._translated():
            most = api.feature_value(symbol, "fetchOHLCV", "limit") or HISTORY_PAGE

            async def page(since: int | None, rows: int) -> Any:
                return await api.fetch_ohlcv(symbol, timeframe, since=since, limit=rows)

            rows = await past.newest(page, limit, most, api.parse_timeframe(timeframe) * 1000)
        now = time.time_ns()
        scale = contract_size(api.markets[symbol]) if self.profile.candles_in_contracts else 1.0
        read = (normalize.candle(row, coin, timeframe, self.name, now, True, scale) for row in rows)
        return [candle for candle in read if candle is not None]

    @contextlib.asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Fence a request: none leaves while a Retry-After lasts, for whatever it was that the venue answered so."""
        if (wait := self._quiet_until - time.monotonic()) > 0:
            raise Disconnected(self.name, f"wants to be left alone for {wait:.1f} s more", wait)
        try:
            yield
        except Exception as error:  # ccxt's parsers on whatever a venue answers: anything may come out
            final = (ccxt.pro.NotSupported, ccxt.pro.BadSymbol, ccxt.pro.AuthenticationError)
            failure = _translate(self.name, error, final)
            if isinstance(failure, Disconnected) and failure.retry_after:
                self._quiet_until = max(self._quiet_until, time.monotonic() + failure.retry_after)
            raise failure from error


@dataclass(frozen=True, slots=True)
class Support:
    """What can be had from a venue: its own name as ``title``, the ``channels`` it streams, a remark."""

    name: str
    title: str
    channels: tuple[str, ...]
    note: str


def supported() -> list[Support]:
    """Every venue that can be asked for, our own rows first; read from the profiles and ccxt's ``has``."""
    rows = []
    for name in exchange_names():
        profile = profile_of(name)
        exchange = _class(profile.ccxt_id)()
        exchange.has.update(profile.has)
        channels = streamed(exchange)
        notes = [profile.note]
        if "trades" in channels and "candles" not in channels:
            channels += ("candles",)
            notes.append("candles are built from trades")
        if "ticker" not in channels and exchange.has.get("fetchTickers"):
            notes.append("the day's figures by REST")
        if "quotes" not in channels and (source := source_of_quotes(exchange)):
            channels += ("quotes",)
            notes.append({"ticker": "quotes from tickers, else order books", "book": "quotes from order books"}[source])
        note = "; ".join(filter(None, notes))
        rows.append(Support(name, exchange.name, channels, note))
    return rows


async def _in_turn(pace: Pace, dial: Callable[[Any], Awaitable[Any]], session: Any) -> Any:
    await pace.turn()
    return await dial(session)


_OTHER = {"buy": "sell", "sell": "buy"}


class _Hooks:
    """What is added to a ccxt.pro class: addresses redirected, HTTP statuses kept, new clients shown."""

    rest_url: str | None = None
    on_new_client: Any = None
    keyless: frozenset[str] = frozenset()
    hotpath = True
    maker_sides = False
    pace: Pace | None = None
    transport: Any = None
    change_is_ratio = False
    ties_newest_first = False
    made: tuple[Any, ...] = ()  # every client that there was
    answered: tuple[int, Any] = (0, {})

    def client(self, url: str) -> Any:
        known = url in (self.clients or ())  # type: ignore[attr-defined] # ccxt's own
        client = super().client(url)  # type: ignore[misc] # ccxt's own
        if not known:
            self.made = (*self.made, client)
        if not known and self.pace is not None:
            client.create_connection = partial(_in_turn, self.pace, client.create_connection)
        if not known and self.on_new_client is not None:
            self.on_new_client(client)
        return client

    def parse_trade(self, *args: Any) -> Any:
        row = super().parse_trade(*args)  # type: ignore[misc] # ccxt's own
        if self.maker_sides:
            row["side"] = _OTHER.get(row["side"])
        return row

    def carry(self, session: Any) -> Any:
        """What the WebSockets are dialled with, in the place of aiohttp's ``session``."""
        return session if self.transport is None else self.transport.carry(session, self.ssl_context)  # type: ignore[attr-defined] # ccxt's own

    def parse_trades(self, trades: Any, *args: Any) -> Any:
        rows = trades[::-1] if self.ties_newest_first and isinstance(trades, list) else trades
        return super().parse_trades(rows, *args)  # type: ignore[misc] # ccxt's own

    def safe_ticker(self, ticker: Any, *args: Any) -> Any:
        if self.change_is_ratio and ticker.get("percentage") is not None:
            ticker["percentage"] = ccxt.Precise.string_mul(str(ticker["percentage"]), "100")
        return super().safe_ticker(ticker, *args)  # type: ignore[misc] # ccxt's own

    def sign(self, path: str, *args: Any, **kwargs: Any) -> Any:
        if path not in self.keyless:
            return super().sign(path, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        self.apiKey = "none"  # ccxt refuses to ask without one
        try:
            signed = super().sign(path, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        finally:
            self.apiKey = ""
        return {**signed, "headers": None}

    async def fetch(self, url: str, *args: Any, **kwargs: Any) -> Any:
        self.answered = (0, {})
        try:
            return await super().fetch(redirect(url, self.rest_url), *args, **kwargs)  # type: ignore[misc] # ccxt's own
        except ccxt.pro.BaseError as error:
            error.status, error.headers = self.answered
            raise

    def on_rest_response(
        self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any
    ) -> str:
        self.answered = (code, headers)
        return body.strip()


@cache
def _class(ccxt_id: str) -> Any:
    return type(ccxt_id, (_Hooks, getattr(ccxt.pro, ccxt_id)), {})


def _session(profile: Profile, access: Access) -> Any:
    """A ccxt.pro instance set up for one venue; it opens nothing until it is asked for something."""
    for module, extra in profile.needs.items():
        if not _installed(module):
            raise Refused(profile.name, f'needs {module}, which is not installed: pip install "market-feed[{extra}]"')
    options = dict(access.options)
    sandbox = profile.sandbox or bool(options.pop("sandbox", False))
    hotpath = options.pop("hotpath", True) is not False
    options.pop("market_cache", None)
    try:
        transport = transport_for(options.pop("transport", None))
    except ValueError as error:
        raise Refused(profile.name, str(error)) from None
    exchange = _class(profile.ccxt_id)({"enableRateLimit": True, "timeout": int(access.timeout * 1000)})
    if sandbox:
        if not profile.testnet or not exchange.urls.get("test"):
            raise Refused(profile.name, "has no testnet; binance_testnet and bybit_testnet are the ones known to work")
        exchange.set_sandbox_mode(True)
    if exchange.has.get(access.market_type) is False:
        raise Refused(profile.name, f"has no {access.market_type} markets")
    exchange.options = exchange.deep_extend(exchange.options, profile.options)
    exchange.options["defaultType"] = access.market_type
    exchange.has.update(profile.has)
    exchange.has["fetchCurrencies"] = False  # a second request at every start, for names that nothing here reads
    _only(exchange, access.market_type)
    exchange.options = exchange.deep_extend(exchange.options, options)
    if exchange.verify and not exchange.options.get("include_OS_certificates"):
        exchange.ssl_context = _tls(exchange.cafile)
    exchange.rest_url = access.rest_url
    exchange.keyless = profile.keyless
    exchange.hotpath = hotpath
    exchange.maker_sides = profile.maker_sides
    exchange.transport = transport
    exchange.change_is_ratio = profile.change_is_ratio
    exchange.ties_newest_first = profile.ties_newest_first
    if access.proxy is not None:
        kinds = ("socksProxy", "wsSocksProxy") if access.proxy.startswith("socks") else ("httpsProxy", "wssProxy")
        for kind in kinds:
            setattr(exchange, kind, access.proxy)
    return exchange


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _cache(profile: Profile, access: Access) -> MarketCache | None:
    """Where the venue's list is kept: apart for all that it depends on."""
    asked = access.options.get("market_cache")
    key = (access.market_type, profile.lean, {**profile.options}, {**access.options}, ccxt.__version__)
    try:
        return market_cache(asked, access.rest_url, profile.name, *key)
    except ValueError as error:
        raise Refused(profile.name, str(error)) from None


def _parsed(by_ccxt: Callable[[str], Any], text: str) -> Any:
    try:
        return parse_in_turns(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return by_ccxt(text)  # which raises what ccxt expects


async def _listed(profile: Profile, access: Access) -> MarketTable:
    """Ask a venue for its markets, with a ccxt instance of its own: this runs beside the feed's loop."""
    exchange = _session(profile, access)
    exchange.on_json_response = partial(_parsed, exchange.on_json_response)
    exchange.timeout_on_exit = 0  # it waits so long for TLS connections: nothing else runs on this loop
    before, now = deepcopy(exchange.options), time.time()
    try:
        await exchange.load_markets()
        return taken_from(exchange, before, now, lean=profile.lean)
    finally:
        await _close(exchange)


def _only(exchange: Any, market_type: str) -> None:
    """Have ccxt load one market type: its modules take the types as a list or as a dict of switches."""
    fetch = exchange.options.get("fetchMarkets")
    types = fetch.get("types") if isinstance(fetch, dict) else None
    wanted = {"spot": ("spot",), "swap": ("swap", "linear")}[market_type]
    if isinstance(types, list):
        kept: Any = [kind for kind in types if kind in wanted]
    elif isinstance(types, dict):
        kept = {kind: switch if kind in wanted else False for kind, switch in types.items()}
    else:
        return
    fetch["types"] = kept or types


def _place(trade: TradeEvent) -> tuple[int, int]:
    """Where a trade belongs; ccxt sorts those of one millisecond by their ids as text."""
    return trade.timestamp, int(trade.trade_id) if trade.trade_id.isdecimal() else 0


def _translate(name: str, error: Exception, final: tuple[type[Exception], ...] | None = None) -> VenueError:
    """The one of our errors that says what the caller can do about ccxt's ``error``.

    ``final`` are ccxt's errors that trying again can't help; by default every answer that is the venue's own refusal.
    """
    if isinstance(error, VenueError):
        return error
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error.__cause__ or error
    status = getattr(cause, "status", 0) or getattr(error, "status", 0)
    headers = getattr(cause, "headers", None) or getattr(error, "headers", None) or {}
    reason = _reason(error, cause, status)
    if status in BLOCKED:
        return Blocked(name, reason, status)
    refusal = isinstance(error, final or ccxt.pro.ExchangeError) and not isinstance(error, ccxt.pro.BadResponse)
    if refusal:
        return Refused(name, reason)
    return Disconnected(name, reason, _seconds(headers.get("Retry-After")))


def _reason(error: Exception, cause: BaseException, status: int) -> str:
    """One line that says what happened, without ccxt's wrapping."""
    silent = "no answer in time" if isinstance(cause, TimeoutError) else type(cause).__name__
    text = " ".join(str(cause).split()) or silent
    if not isinstance(error, ccxt.pro.BaseError | OSError | TimeoutError):  # a parser's: no person understands it alone
        text = f"sent something that cannot be read ({type(error).__name__}: {text})"
    if status and str(status) not in text:
        text = f"HTTP {status}: {text}"
    return text[:REASON]


def _seconds(retry_after: Any) -> float | None:
    """Retry-After as seconds; the header's other form, a date, no venue here sends."""
    try:
        seconds = float(retry_after)
    except (TypeError, ValueError):
        return None
    return min(max(0.0, seconds), LONGEST_BAN) if math.isfinite(seconds) else None


async def _close(exchange: Any) -> None:
    """Close a ccxt instance within about CLOSE_GRACE seconds: a dead peer never answers the closing handshake."""
    clients = exchange.made  # also those that ccxt has forgotten after an error, while they close
    await asyncio.gather(*map(hang_up, clients))
    try:
        async with asyncio.timeout(CLOSE_GRACE):
            await exchange.close()
    except TimeoutError:
        for client in clients:
            abort(client)
        await exchange.close()
    for client in clients:
        abort(client)
    _unburden(exchange)


def _unburden(exchange: Any) -> None:
    """Take from a closed instance what is heavy: its parts refer to one another, so it lives until a full collection.

    Those are rare beside hundreds of thousands of cached objects; hundreds of dials may lie between two.
    """
    exchange.on_new_client = None
    exchange.made = ()
    for name, value in list(vars(exchange).items()):
        if isinstance(value, dict):
            setattr(exchange, name, {})


@cache
def _tls(cafile: str) -> ssl.SSLContext:
    """The TLS context of all instances: ccxt makes one for each, of 0.7 MB, while the loop stands still for 35 ms."""
    return ssl.create_default_context(cafile=cafile)
