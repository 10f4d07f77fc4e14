"""ccxt.pro's classes as a venue's profile wants them: what is added to them, an instance made, an instance closed."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import ccxt.pro
from aiohttp import ClientSession, TCPConnector, connector

from exchanges.errors import Refused
from exchanges.fence import abort, hang_up, redirect
from exchanges.pace import Pace
from exchanges.profiles import Access, Profile
from exchanges.transport import transport_for

VERSION: str = ccxt.__version__

# ccxt paces requests and subscriptions by the wall clock: set back by an hour, it would hold them for that hour.
import_module("ccxt.async_support.base.throttler").time = time.monotonic  # type: ignore[attr-defined] # ccxt's own

_CLEANUP_CLOSED: bool = getattr(connector, "NEEDS_CLEANUP_CLOSED", False)  # asked for elsewhere, aiohttp warns
CLOSE_GRACE = 1.0  # seconds given to the closing handshake before the socket is dropped


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
    own_session: bool
    session: Any = None
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

    def open(self, lazy: bool = False) -> None:
        """As ccxt's, but that aiohttp is asked to clean up behind asyncio only where asyncio does not do so itself."""
        own, self.own_session = self.own_session, False
        try:
            super().open(lazy)  # type: ignore[misc] # ccxt's own
        finally:
            self.own_session = own
        if own and self.session is None:
            loop: Any = self.asyncio_loop  # type: ignore[attr-defined] # ccxt's own
            self.tcp_connector = TCPConnector(
                ssl=self.ssl_context,  # type: ignore[attr-defined] # ccxt's own
                loop=loop,
                family=socket.AF_UNSPEC,
                happy_eyeballs_delay=0,
                enable_cleanup_closed=_CLEANUP_CLOSED,
            )
            self.session = ClientSession(loop=loop, connector=self.tcp_connector, trust_env=self.aiohttp_trust_env)  # type: ignore[attr-defined] # ccxt's own

    def carry(self, session: Any) -> Any:
        """What the WebSockets are dialled with, in the place of aiohttp's ``session``."""
        return session if self.transport is None else self.transport.carry(session, self.ssl_context)  # type: ignore[attr-defined] # ccxt's own

    def parse_trades(self, trades: Any, *args: Any) -> Any:
        rows = trades[::-1] if self.ties_newest_first and isinstance(trades, list) else trades
        return super().parse_trades(rows, *args)  # type: ignore[misc] # ccxt's own

    def sort_by_2(self, array: Any, key1: Any, key2: Any, descending: bool = False) -> Any:
        """As ccxt's, which orders the trades of one millisecond by their ids as text, but that 9 comes before 10."""
        if key2 != "id":
            return super().sort_by_2(array, key1, key2, descending)  # type: ignore[misc] # ccxt's own
        return sorted(
            array, key=lambda row: (row[key1] or 0, len(row["id"] or ""), row["id"] or ""), reverse=descending
        )

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
def ccxt_class(ccxt_id: str) -> Any:
    return type(ccxt_id, (_Hooks, getattr(ccxt.pro, ccxt_id)), {})


def make_instance(profile: Profile, access: Access) -> Any:
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
    exchange = ccxt_class(profile.ccxt_id)({"enableRateLimit": True, "timeout": int(access.timeout * 1000)})
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


@cache
def _tls(cafile: str) -> ssl.SSLContext:
    """The TLS context of all instances: ccxt makes one for each, of 0.7 MB, while the loop stands still for 35 ms."""
    return ssl.create_default_context(cafile=cafile)


async def close_instance(exchange: Any) -> None:
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
