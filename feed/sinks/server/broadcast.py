"""Sends each event to all clients, encoded once; decides when a slow client loses events or is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from exchanges.bus import payloads
from feed.channels import BOOKS, PRICES, STATUS
from feed.errors import StaleDataError
from feed.sinks.server import messages
from feed.sinks.server.event_log import EventLog
from feed.sinks.server.messages import EVENT_TYPES, RequestError, Selection

if TYPE_CHECKING:
    from feed.market_feed import MarketFeed
    from feed.settings import Settings

HIGH = 64 * 1024  # bytes that wait in a client's socket; while there are more, nothing is written to it
LOOK = 0.02  # seconds between two checks of clients whose sockets are full
TURN = 256  # after this many events the server writes to its clients, even if the feed has read more at once
AT_ONCE = 1024  # the most events that are sent to a client at once; the rest is sent at the next check
LOGS = 200  # the most different selections at a time
IDLE = 60.0  # seconds for which the events of a selection are kept without a client
STALLED = 60.0  # seconds after which a client that reads nothing is cut


class Client:
    """One client.

    ``write_events`` turns events into bytes; ``overflow`` is called if a client with the policy "error" is too slow.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        write_events: Callable[[Iterable[tuple[int, bytes]]], bytes],
        overflow: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.write_events = write_events
        self.overflow = overflow
        self.log: EventLog | None = None
        self.position = 0  # the number of the last event that was written
        self.on_full = messages.POLICIES[0]
        self.dropped = 0
        self.full_since: float | None = None  # since when the client's socket takes nothing, monotonic seconds


class Broadcast:
    """Keeps the latest state, a log per selection, and every client's position in its log."""

    def __init__(self, feed: MarketFeed, settings: Settings) -> None:
        self.clients = 0
        self._feed = feed
        self._depth = settings.book_depth
        self._latest: dict[str, dict[str, Any]] = {channel: {} for channel in EVENT_TYPES}
        self._logs: dict[Selection, EventLog] = {}
        self._logs_of: dict[str, list[EventLog]] = {channel: [] for channel in EVENT_TYPES}
        self._clients_of: dict[EventLog, list[Client]] = {}
        self._unsent = 0  # events since the last write to clients
        self._touched: dict[EventLog, None] = {}
        self._full: dict[Client, None] = {}
        self._handles: dict[str, Any] = {STATUS: feed.subscribe_status(self._on_status)}
        self._looking: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Future[None] | None = None
        for channel in (PRICES.name, *settings.channels):
            self._want(channel)

    def _want(self, channel: str) -> None:
        """Subscribe to a channel of the feed."""
        if channel in self._handles:
            return
        self._handles[channel] = self._feed.subscribe(channel, self._taker(channel))

    def _taker(self, channel: str) -> Callable[[Any], None]:
        latest, logs, kind = self._latest[channel], self._logs_of[channel], EVENT_TYPES[channel]

        def take(event: Any) -> None:
            coin = event.coin
            latest[coin] = event
            body = b""
            for log in logs:
                coins = log.selection.coins
                if coins is None or coin in coins:
                    body = body or payloads.event(kind, event)
                    self._add(log, (channel, coin), body)

        return take

    def _on_status(self, event: str, details: dict[str, Any]) -> None:
        body = payloads.status(event, details)
        for log in self._logs_of[STATUS]:
            self._add(log, (STATUS, event), body)
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    @property
    def changed(self) -> asyncio.Future[None]:
        """A future that is done at the next status event."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def _add(self, log: EventLog, key: tuple[str, str], body: bytes) -> None:
        log.add(key, body)
        if not self._touched:
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._flush)
        self._touched[log] = None
        self._unsent += 1
        if self._unsent >= TURN:
            self._flush()

    # Clients

    def log_of(self, selection: Selection) -> EventLog:
        """The log of a selection, made when it is first needed. Raises RequestError if there are too many logs."""
        log = self._logs.get(selection)
        if log is None:
            if len(self._logs) >= LOGS:
                self._forget_idle(0.0)
            if len(self._logs) >= LOGS:
                raise RequestError(f"this server has {LOGS} different selections, more are not allowed")
            log = self._logs[selection] = EventLog(selection)
            self._clients_of[log] = []
            for channel in selection.channels:
                self._want(channel)
                self._logs_of[channel].append(log)
        return log

    def log_that_holds(self, seq: int) -> EventLog | None:
        """The log in which a client can continue after the event ``seq``."""
        return next((log for log in self._logs.values() if log.holds(seq)), None)

    def attach(self, client: Client, log: EventLog, position: int, on_full: str) -> None:
        """From now on, write the events of ``log`` after the number ``position`` to the client."""
        self.detach(client)
        client.log, client.position, client.on_full = log, position, on_full
        log.users += 1
        self._clients_of[log].append(client)
        self._send(client, {})

    def detach(self, client: Client) -> None:
        """Stop writing to the client. Idempotent."""
        self._full.pop(client, None)
        client.full_since = None
        log, client.log = client.log, None
        if log is not None:
            self._clients_of[log].remove(client)
            log.users -= 1
            log.idle_since = time.monotonic()

    def close(self) -> None:
        """Cancel all subscriptions to the feed."""
        for handle in self._handles.values():
            handle.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def tend(self) -> None:
        """Drop logs that had no client for IDLE seconds. Call this about once a second."""
        self._forget_idle(IDLE)

    def _forget_idle(self, seconds: float) -> None:
        now = time.monotonic()
        for log in list(self._logs.values()):
            if not log.users and now - log.idle_since >= seconds:
                del self._logs[log.selection], self._clients_of[log]
                for channel in log.selection.channels:
                    self._logs_of[channel].remove(log)

    # Writing

    def _flush(self) -> None:
        touched, self._touched = self._touched, {}
        self._unsent = 0
        for log in touched:
            made: dict[Any, bytes] = {}  # clients at the same position are sent the same bytes
            for client in self._clients_of.get(log, ())[:]:
                if client.full_since is None:
                    self._send(client, made)

    def _send(self, client: Client, made: dict[Any, bytes]) -> None:
        """Write new events to the client, or note that its socket is full."""
        log = client.log
        if log is None or client.position == log.last or client.transport.is_closing():
            return
        if client.transport.get_write_buffer_size() > HIGH or log.last - client.position > AT_ONCE:
            client.full_since = time.monotonic()
            self._full[client] = None
            self._look_later()
            return
        key = client.write_events, client.position
        data = made.get(key)
        if data is None:
            data = made[key] = client.write_events(log.after(client.position))
        client.position = log.last
        client.transport.write(data)

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        """Continue with the clients whose sockets were full."""
        self._looking = None
        for client in list(self._full):
            self._catch_up(client)
        if self._full:
            self._look_later()

    def _catch_up(self, client: Client) -> None:
        log, transport, now = client.log, client.transport, time.monotonic()
        if log is None or transport.is_closing():
            self._full.pop(client, None)
            return
        missed = log.oldest - 1 - client.position
        if missed > 0 and client.on_full == "error":
            self.detach(client)
            client.overflow()
            return
        if transport.get_write_buffer_size() > HIGH // 2:
            if client.full_since is not None and now - client.full_since > STALLED:
                self.detach(client)
                transport.abort()
            return
        client.full_since = now
        if client.on_full == "latest":
            events = log.newest_after(client.position)
            client.position = log.last
        else:
            client.dropped += max(0, missed)
            events = log.after(client.position, AT_ONCE)
            client.position = events[-1][0] if events else log.last
        if events:
            transport.write(client.write_events(events))
        if client.position == log.last:
            client.full_since = None
            del self._full[client]

    # The latest state

    @property
    def coins(self) -> list[str]:
        """The feed's coins."""
        return [config.symbol for config in self._feed.coin_configs]

    def prices(self, coins: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The latest tick of each coin that has one, with ``fresh`` and, if it is not fresh, the ``reason``."""
        found = {}
        for coin in coins:
            tick = self._feed.get_price(coin)
            if tick is not None:
                found[coin] = {name: getattr(tick, name) for name in tick.__slots__} | self.freshness(coin)
        return found

    def freshness(self, coin: str) -> dict[str, Any]:
        """Whether a bot may act on the coin's price now, and why not."""
        try:
            self._feed.require_fresh(coin)
        except StaleDataError as error:
            return {"fresh": False, "reason": str(error)}
        return {"fresh": True, "reason": ""}

    def _newest(self, channel: str, coins: Iterable[str]) -> dict[str, Any]:
        """The latest event of each coin; order books only if they are proven now."""
        latest = self._latest[channel]
        if channel == BOOKS.name:
            depth = self._depth
            latest = {coin: book for coin in coins if (book := self._feed.get_book(coin, depth)) is not None}
        return {coin: latest[coin] for coin in coins if coin in latest}

    def snapshot(self, log: EventLog) -> bytes:
        """The latest state of a selection, with the number of the last event that it includes."""
        wanted = log.selection
        coins = [coin for coin in self.coins if wanted.coins is None or coin in wanted.coins]
        state: dict[str, Any] = {
            "type": "snapshot",
            "seq": log.last,
            "at": time.time() * 1000,
            "channels": sorted(wanted.channels),
            "coins": coins,
            "status": self._feed.get_status(),
        }
        for channel in wanted.channels - {STATUS}:
            state[channel] = self.prices(coins) if channel == PRICES.name else self._newest(channel, coins)
        return payloads.encode(state)
