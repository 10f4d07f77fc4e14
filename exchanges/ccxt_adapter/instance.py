"""Makes and closes instances of ccxt.pro's classes, and changes their behaviour as a venue's profile says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Set
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from exchanges.ccxt_adapter import ccxt_import
from exchanges.ccxt_adapter.bans import Quiet
from exchanges.ccxt_adapter.books.joining import JoiningBooks
from exchanges.ccxt_adapter.deferred_names import having, instance_of_the_feed
from exchanges.ccxt_adapter.markets.worker import parse_in_turns
from exchanges.ccxt_adapter.stream.client_guard import abort, hang_up
from exchanges.ccxt_adapter.stream.dial_rate import DialRate
from exchanges.ccxt_adapter.transport.certificates import tls_context
from exchanges.ccxt_adapter.transport.choose import uses_picows
from exchanges.ccxt_adapter.transport.http_client import SOCKS_EXTRA, HttpClient, redirect, socks_missing
from exchanges.ccxt_adapter.transport.proxies import Proxy, proxy_for
from exchanges.errors import Disconnected, Rejected
from exchanges.foreign_text import Cleaner
from exchanges.venue import Access
from exchanges.venues.profile import Profile

# ccxt spaces requests and subscriptions by the wall clock: if the clock were set back by an hour, they would wait for
# that hour.
import_module("ccxt.async_support.base.throttler").time = time.monotonic  # type: ignore[attr-defined] # ccxt's own

_Precise = import_module("ccxt.base.precise").Precise

_wanted_tickers: ContextVar[Set[str] | None] = ContextVar("wanted_tickers", default=None)
_paced: ContextVar[bool] = ContextVar("paced", default=True)
_answered: ContextVar[tuple[int, Any]] = ContextVar("answered")  # status and headers of this task's request


def tickers_of(ids: Set[str]) -> contextlib.AbstractContextManager[None]:
    """Context in which only the tickers of these market ids are parsed: some venues send thousands."""
    return having(_wanted_tickers, ids)


def at_once() -> contextlib.AbstractContextManager[None]:
    """Context in which requests do not wait for their turn: the caller itself keeps to the venue's limits."""
    return having(_paced, False)


CLOSE_GRACE = 1.0  # seconds given to the closing handshake before the socket is dropped


async def _in_turn(exchange: Any, settle: float, dial: Callable[[Any], Awaitable[Any]], session: Any) -> Any:
    """Dial as soon as the venue's limit on sockets allows it. Raises Disconnected while the venue wants no requests.

    ``settle``: seconds after the dial until the first message may be sent.
    """
    if exchange.quiet is not None and (wait := exchange.quiet.left(dial=True)) > 0:
        raise left_alone(exchange.profile.name, wait)
    if exchange.pace is not None:
        await exchange.pace.turn()
    connection = await dial(session)
    if settle:
        await asyncio.sleep(settle)
    return connection


async def _refused(url: str, session: Any) -> Any:
    raise ConnectionError(f"{url.partition('?')[0]} is not dialled: it has no TLS, although it was received over TLS")


def left_alone(name: str, seconds: float) -> Disconnected:
    """The error for a request that is not sent because the venue's Retry-After or ban has not ended."""
    return Disconnected(name, f"wants to be left alone for {seconds:.1f} s more", seconds)


class _Hooks(JoiningBooks):
    """Methods added to a ccxt.pro class: they redirect addresses, keep HTTP statuses and report new clients."""

    quiet: Quiet | None = None  # knows how long the venue wants no requests
    clean: Callable[[], Cleaner] = Cleaner  # makes the function that hides secrets in the venue's texts
    make_session: Callable[[Any], Any] | None = None  # makes the session; gets the TLS context
    access = Access()
    on_new_client: Any = None
    hotpath = True
    parses_in_turns = False  # parses JSON piece by piece, so that other threads can run in between
    profile = Profile("")  # set early: some of ccxt's classes make markets in their constructor
    pace: DialRate | None = None
    session: Any = None
    cafile: str
    apiKey: str
    options: Any
    ssl_context: Any
    verify: Any
    made: tuple[Any, ...] = ()  # all clients so far

    def __init__(self, *args: Any) -> None:
        with instance_of_the_feed():
            super().__init__(*args)

    def client(self, url: str) -> Any:
        known = url in (self.clients or ())  # type: ignore[attr-defined] # ccxt's own
        client = super().client(url)  # type: ignore[misc] # ccxt's own
        if not known:
            self.made = (*self.made, client)
            settle = getattr(client, "settle", 0.0)  # ccxt sets options["ws"] as attributes of clients
            dial = partial(_in_turn, self, settle, client.create_connection)
            client.create_connection = partial(_refused, url) if self.is_downgrade(url) else dial
            if self.on_new_client is not None:
                self.on_new_client(client)
        return client

    def is_downgrade(self, url: str) -> bool:
        """Whether an address without TLS was received over REST with TLS (KuCoin sends its addresses so)."""
        own = self.access.ws_url is not None or (self.access.rest_url or "").startswith("http://")
        return url.startswith("ws://") and not own and url not in _texts(self.urls.get("api"))  # type: ignore[attr-defined] # ccxt's own

    def safe_market_structure(self, market: Any = None) -> Any:
        """Like ccxt's method, but without the venue's own row where nobody reads it."""
        if self.profile.lean and isinstance(market, dict) and market.get("info"):
            market = {**market, "info": {}}
        return super().safe_market_structure(market)  # type: ignore[misc] # ccxt's own

    def parse_trade(self, *args: Any) -> Any:
        row = super().parse_trade(*args)  # type: ignore[misc] # ccxt's own
        self.profile.correct_trade_row(row)
        return row

    def open(self, lazy: bool = False) -> None:
        """Like ccxt's method, with a session of ours; on a closed instance it raises and opens nothing."""
        closed = lazy and self.closed_by_user
        if self.make_session is not None and self.session is None and not closed:
            if self.ssl_context is None and self.verify:
                self.ssl_context = tls_context(self.cafile, bool(self.options.get("include_OS_certificates")))
            self.session = self.make_session(self.ssl_context)
        super().open(lazy)  # type: ignore[misc] # ccxt's own

    def parse_trades(self, trades: Any, *args: Any) -> Any:
        turned = self.profile.order == "ties newest first" and isinstance(trades, list)
        rows = trades[::-1] if turned else trades
        return super().parse_trades(rows, *args)  # type: ignore[misc] # ccxt's own

    def parse_tickers(self, tickers: Any, *args: Any, **kwargs: Any) -> Any:
        """Like ccxt's method, for the wanted markets alone; an unreadable row does not affect the others."""
        ids = _wanted_tickers.get()
        if ids is not None and self.profile.ticker_market and isinstance(tickers, list):
            tickers = [each for each in tickers if self._is_of(each, ids)]
        try:
            return super().parse_tickers(tickers, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        except Exception:  # ccxt's parsers may raise anything on an unexpected answer
            rows = self.to_array(tickers) if isinstance(tickers, dict | list) else []  # type: ignore[attr-defined] # ccxt's own
            good = [row for row in rows if self._readable(row)]
            if not good:
                raise
            return super().parse_tickers(good, *args, **kwargs)  # type: ignore[misc] # ccxt's own

    def on_json_response(self, text: str) -> Any:
        """Like ccxt's method, but rows of markets, and of tickers if few are wanted, are parsed when they are read."""
        if self.parses_in_turns or (self.profile.lean and _wanted_tickers.get() is not None):
            with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
                return parse_in_turns(text, rows_when_read=self.profile.lean)
        return super().on_json_response(text)  # type: ignore[misc] # ccxt's own; raises the errors that ccxt expects

    def _readable(self, ticker: Any) -> bool:
        try:
            self.parse_ticker(ticker)  # type: ignore[attr-defined] # ccxt's own
        except Exception:  # noqa: BLE001 - the question is whether it raises anything
            return False
        return True

    def _is_of(self, ticker: Any, ids: Set[str]) -> bool:
        market_id = ticker.get(self.profile.ticker_market) if isinstance(ticker, dict) else None
        return not isinstance(market_id, str) or market_id in ids  # ccxt decides about rows that are no tickers

    def sort_by_2(self, array: Any, key1: Any, key2: Any, descending: bool = False) -> Any:
        """Like ccxt's method, but trades of one millisecond are sorted with shorter ids first: 9 comes before 10."""
        if key2 != "id":
            return super().sort_by_2(array, key1, key2, descending)  # type: ignore[misc] # ccxt's own
        return sorted(
            array, key=lambda row: (row[key1] or 0, len(row["id"] or ""), row["id"] or ""), reverse=descending
        )

    def safe_ticker(self, ticker: Any, *args: Any) -> Any:
        """Like ccxt's method, but a last price that the venue does not send is not computed from other values."""
        self.profile.correct_ticker_row(ticker)
        named = self.omit_zero(self.safe_string_2(ticker, "close", "last"))  # type: ignore[attr-defined] # ccxt's own
        completed = super().safe_ticker(ticker, *args)  # type: ignore[misc] # ccxt's own
        if named is None:
            completed["close"] = completed["last"] = None
        return completed

    def authenticate(self, *args: Any, **kwargs: Any) -> Any:
        """Like ccxt's method, but without a login if the same data is public in streams with other names."""
        if self.profile.keyless_streams and not self.apiKey:
            return {}
        return super().authenticate(*args, **kwargs)  # type: ignore[misc] # ccxt's own

    def sign(self, path: str, *args: Any, **kwargs: Any) -> Any:
        if path not in self.profile.keyless:
            return super().sign(path, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        self.apiKey = "none"  # ccxt sends no signed request without a key
        try:
            signed = super().sign(path, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        finally:
            self.apiKey = ""
        return {**signed, "headers": None}

    async def throttle(self, cost: Any = None) -> None:
        if _paced.get():
            await super().throttle(cost)  # type: ignore[misc] # ccxt's own

    async def fetch(self, url: str, *args: Any, **kwargs: Any) -> Any:
        _answered.set((0, {}))
        try:
            url = redirect(url, self.access.rest_url)
            return await super().fetch(url, *args, **kwargs)  # type: ignore[misc] # ccxt's own
        except ccxt_import.errors.BaseError as error:
            error.status, error.headers = _answered.get()
            raise

    def on_rest_response(
        self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any
    ) -> str:
        _answered.set((code, headers))
        return body.strip()


@cache
def ccxt_class(ccxt_id: str) -> Any:
    return type(ccxt_id, (_Hooks, ccxt_import.exchange_class(ccxt_id)), {})


def make_instance(profile: Profile, access: Access) -> Any:
    """Make a ccxt.pro instance for one venue; it opens no connection before the first request."""
    for module, extra in profile.needs.items():
        if not _installed(module):
            raise Rejected(profile.name, f'needs {module}, which is not installed: pip install "market-feed[{extra}]"')
    options = dict(access.options)
    sandbox = profile.sandbox or bool(options.pop("sandbox", False))
    hotpath = options.pop("hotpath", True) is not False
    options.pop("market_cache", None)
    try:
        ccxt_import.check_variable()
        over_picows = uses_picows(options.pop("transport", None))
    except ValueError as error:
        raise Rejected(profile.name, str(error)) from None
    exchange = ccxt_class(profile.ccxt_id)({"enableRateLimit": True, "timeout": int(access.timeout * 1000)})
    exchange.enableLastHttpResponse = False  # megabytes of text that only clients of private endpoints need
    exchange.profile, exchange.access = profile, access
    if sandbox:
        if not profile.testnet or not exchange.urls.get("test"):
            raise Rejected(
                profile.name,
                "has no testnet; binance_testnet and bybit_testnet are known to work",
            )
        exchange.set_sandbox_mode(True)
    if exchange.has.get(access.market_type) is False:
        raise Rejected(profile.name, f"has no {access.market_type} markets")
    exchange.options = exchange.deep_extend(exchange.options, profile.options)
    exchange.options["defaultType"] = access.market_type
    exchange.has.update(profile.has)
    exchange.has["fetchCurrencies"] = False  # otherwise ccxt makes one more request at every start
    _only(exchange, access.market_type)
    exchange.options = exchange.deep_extend(exchange.options, options)
    named = [address for address in (access.rest_url, access.ws_url) if address is not None]
    exchange.make_session = partial(
        HttpClient,
        proxy_for=partial(proxy_for, configured=access.proxy),
        named=named,
        ws_url=access.ws_url,
        over_picows=over_picows,
    )
    exchange.hotpath = hotpath
    if socks_missing():
        for proxy in proxies(exchange, access).values():
            if isinstance(proxy, Proxy) and proxy.socks:
                raise Rejected(profile.name, f"the proxy {proxy} {SOCKS_EXTRA}")
    return exchange


def proxies(exchange: Any, access: Access) -> dict[str, Proxy | str | None]:
    """A venue's REST and WebSocket addresses with their proxies.

    None stands for no proxy. A text in place of a proxy says what is wrong with the setting.
    """
    found: dict[str, Proxy | str | None] = {}
    for url in _addresses(exchange, access):
        try:
            found[url] = proxy_for(url, access.proxy)
        except ValueError as error:
            found[url] = str(error)
    return found


def _addresses(exchange: Any, access: Access) -> Iterator[str]:
    """The first REST address and the first WebSocket address, or the addresses that the settings name instead."""
    known = list(_texts(exchange.urls.get("api")))
    for own, schemes in ((access.rest_url, ("http", "https")), (access.ws_url, ("ws", "wss"))):
        theirs = (exchange.implode_hostname(url) for url in known if url.partition("://")[0] in schemes)
        if (url := own or next(theirs, None)) is not None:
            yield url


def _texts(urls: Any) -> Iterator[str]:
    if isinstance(urls, dict):
        for each in urls.values():
            yield from _texts(each)
    elif isinstance(urls, str):
        yield urls


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package of the module is missing
        return False


def _only(exchange: Any, market_type: str) -> None:
    """Make ccxt load only one market type: its modules take the types as a list or as a dict of switches."""
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


async def close_instance(exchange: Any) -> None:
    """Close a ccxt instance within about CLOSE_GRACE seconds: a dead peer never answers the closing handshake."""
    clients = exchange.made  # this includes clients that ccxt dropped after an error and that are still closing
    try:
        await asyncio.gather(*map(hang_up, clients))
        async with asyncio.timeout(CLOSE_GRACE):
            await exchange.close()
    except BaseException as error:
        for client in clients:
            abort(client)
        session, exchange.session = exchange.session, None  # the session first: this may be cancelled again
        if session is not None:
            await asyncio.shield(asyncio.create_task(session.close()))
        await exchange.close()
        if not isinstance(error, TimeoutError):  # closing was cancelled: the feed does not wait any longer
            raise
    for client in clients:
        abort(client)
    await _end_waiting([exchange.throttler, *(client.throttle for client in clients)])
    _unburden(exchange)


async def _end_waiting(throttlers: list[Any]) -> None:
    """End ccxt's tasks that wait for their turn to send, and the tasks of its rate limiter: nobody else ends them."""
    running = [throttler for throttler in throttlers if throttler is not None and throttler.running]
    for throttler in running:
        throttler.running = False
        for turn, _ in throttler.queue:
            turn.cancel()
    for throttler in running:
        await asyncio.sleep(2 * throttler.config["delay"])  # within this time the throttler notices that it must end


def _unburden(exchange: Any) -> None:
    """Remove the large parts of a closed instance: because of reference cycles it lives until a full garbage
    collection. In a process with many objects full collections are rare, and there may be hundreds of dials between
    two of them.
    """
    exchange.on_new_client = exchange.on_snapshot = None
    exchange.made = ()
    for name, value in list(vars(exchange).items()):
        if isinstance(value, dict):
            setattr(exchange, name, {})


def forget(exchange: Any) -> None:
    """Remove everything from a closed instance except its id and the mark that it is closed, which late requests read.

    Otherwise reference cycles would keep the instance and its markets in memory until a full garbage collection.
    """
    name = exchange.id
    vars(exchange).clear()
    exchange.id, exchange.closed_by_user = name, True
