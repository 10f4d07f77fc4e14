"""One connection to a NATS server with JetStream: its dial, requests and errors, and how long an answer may take."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import ssl
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exchanges.ccxt_adapter.transport.certificates import FILE, is_endless
from exchanges.ccxt_adapter.transport.name_lookup import look_up, unanswered
from exchanges.foreign_text import Cleaner, address_shown
from exchanges.venue import BusAddress

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

PINGS = 1.0  # seconds between two pings
ANSWER_TIMEOUT = 2.0  # seconds that an answer may take
CLOSE = 0.5  # seconds for closing a connection
AT_ONCE = 500  # the most subjects whose last messages are fetched with one request
OLDEST_SERVER = (2, 11)
NOT_FOUND = {10037, 10059, 10014}  # codes of the error "not found": a message, a stream, a consumer
WRONG_SEQUENCE = {10071, 10164}  # another message is the last one of the subject
PENDING = 256 * 1024 * 1024  # bytes that may wait for a consumer; more messages are dropped, and read again later

OnMessage = Callable[["Msg"], Awaitable[None]]


class BusError(Exception):
    """A request to the bus failed; the text says why. ``code`` is JetStream's error code, 0 if there is none."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class BusUnreachable(BusError):
    """The bus cannot be reached, or the connection to it has ended: try again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of a stream. ``at`` is when the server stored the message, in Unix ns."""

    subject: str
    data: bytes
    sequence: int
    at: int


def missing() -> str:
    """What must be installed for the bus; empty if nothing is missing."""
    return "" if find_spec("nats") is not None else "the bus needs nats-py: pip install 'market-feed[bus]'"


def _check(file: str) -> None:
    """Raise OSError if a file can't be read or is a pipe: the libraries would wait for ever for the pipe's writer."""
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    open(file, "rb").close()


async def _looked_up(servers: Sequence[str], patience: float) -> list[str]:
    """The servers whose names were looked up within ``patience`` seconds; if there are none, the first server whose
    name is looked up later. Raises OSError if no name can be looked up.

    nats-py looks names up in asyncio's threads, and a program cannot end before these threads have ended. So nats-py
    must not look up a name before the name server has answered.
    """
    lookups = {url: asyncio.create_task(look_up(urlsplit(url).hostname or "", 0)) for url in servers}
    try:
        waiting = set(lookups.values())
        await asyncio.wait(waiting, timeout=patience)
        while not any(_succeeded(each) for each in lookups.values()):
            waiting = {each for each in waiting if not each.done()}
            if not waiting:
                raise next(error for each in lookups.values() if (error := each.exception()) is not None)
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return [url for url, each in lookups.items() if _succeeded(each)]
    finally:
        for each in lookups.values():
            each.cancel()
            if each.done() and not each.cancelled():
                each.exception()  # the error is retrieved, so that asyncio does not warn; the other servers are enough


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _say_nothing_in_plain_text(connection: Client, error: type[Exception]) -> None:
    """Make a client end its dial before it sends the login, if the server (or another in its place) offers no TLS.

    nats-py sends everything in plain text if the server's first line does not ask for TLS, even to a tls:// address.
    """
    say = connection._connect_command

    def say_in_tls() -> bytes:
        if not connection._server_info.get("tls_required"):
            raise error("the server has no TLS, which the settings ask for: no login is sent")
        return say()

    connection._connect_command = say_in_tls  # type: ignore[method-assign] # nats-py has no other hook for this


class BusClient:
    """One connection to the bus. ``closed`` is set when the connection has ended; it is not dialled again."""

    def __init__(self, address: BusAddress) -> None:
        self.address = address
        self.clean = Cleaner(address.secrets())
        self.closed = asyncio.Event()
        self.reason = ""
        """What ended the connection."""
        self._nats: Client | None = None

    @property
    def shown(self) -> str:
        """The address in a form that may be shown."""
        return ",".join(address_shown(url) for url in self.address.servers)

    @classmethod
    async def dial(cls, address: BusAddress, name: str, timeout: float = 5.0) -> BusClient:
        """Connect. Raises BusUnreachable, which says whether the bus, the login or the installation is the cause."""
        client = cls(address)
        if fault := missing():
            raise BusUnreachable(fault)
        systems = os.environ.get(FILE, "") if client._in_tls and not address.ca else ""
        for what, file in (("creds", address.creds), ("ca", address.ca), (FILE, is_endless(systems) and systems)):
            try:
                if file:
                    _check(file)
            except OSError as error:
                raise client._unreachable(f"{what}: found {file}: {error.strerror}") from None
        nats = _import_nats()
        connection = nats.aio.client.Client()
        if client._in_tls:
            _say_nothing_in_plain_text(connection, nats.errors.Error)
        try:
            async with asyncio.timeout(timeout):
                servers = await _looked_up(address.servers, timeout / 2)
                options = client._options() | {"servers": servers}
                await connection.connect(name=name, connect_timeout=max(1, int(timeout)), **options)
        except TimeoutError as error:
            if isinstance(error, nats.errors.Error):
                raise client._unreachable(str(error)) from None
            silent = [name for name in unanswered(timeout / 2) if any(name in url for url in address.servers)]
            why = f": the name server does not answer for {', '.join(silent)}" if silent else ""
            raise client._unreachable(f"no answer within {timeout:g} s{why}") from None
        except (nats.errors.Error, OSError, ssl.SSLError, ImportError, ValueError) as error:
            raise client._unreachable(client._why(error)) from None
        except Exception as error:  # nkeys raises errors of all kinds if the file is not a creds file
            if not address.creds:
                raise
            raise client._unreachable(f"creds: {address.creds} has no user JWT and seed that can be read") from error
        finally:
            if not connection.is_connected:
                with contextlib.suppress(Exception):  # the connection never opened: errors of closing it do not matter
                    async with asyncio.timeout(CLOSE):
                        await connection.close()
        client._nats = connection
        version = connection.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            await client.close()
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise client._unreachable(f"found nats-server {version}, allowed is {oldest} or later")
        return client

    @property
    def _in_tls(self) -> bool:
        return bool(self.address.ca) or any(url.startswith("tls") for url in self.address.servers)

    def _options(self) -> dict[str, Any]:
        address = self.address

        async def on_error(error: Exception) -> None:
            self.reason = self.reason or str(error)

        async def on_closed() -> None:
            self.closed.set()

        options: dict[str, Any] = {
            "servers": list(address.servers),
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,  # per server; nats-py counts the first dial too, and waits between dials
            "reconnect_time_wait": 0.05,
            "error_cb": on_error,
            "disconnected_cb": on_closed,
            "closed_cb": on_closed,
            "ping_interval": PINGS,
            "max_outstanding_pings": 2,
            "pending_size": 64 * 1024 * 1024,
        }
        for name, value in (("user", address.user), ("password", address.password), ("token", address.token)):
            if value:
                options[name] = value
        if address.creds:
            options["user_credentials"] = address.creds
        if self._in_tls:
            options["tls"] = ssl.create_default_context(cafile=address.ca or None)
        return options

    def _why(self, error: Exception) -> str:
        if isinstance(error, ImportError):
            return "a creds file needs nkeys: pip install nkeys" if error.name in ("nkeys", "nacl") else str(error)
        if type(error).__name__ == "NoServersError":
            return self.reason or "no server answers"
        return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

    def _unreachable(self, reason: str) -> BusUnreachable:
        return BusUnreachable(self.clean(f"the bus {self.shown} cannot be used: {reason}"))

    @property
    def nats(self) -> Client:
        """The nats-py client of this connection."""
        assert self._nats is not None
        return self._nats

    @property
    def ended(self) -> BusUnreachable:
        """The error that calls raise after the connection has ended."""
        return BusUnreachable(self.clean(f"the bus {self.shown} has ended the connection: {self.reason or 'closed'}"))

    async def close(self) -> None:
        """Close the connection within CLOSE seconds."""
        if self._nats is not None:
            with contextlib.suppress(Exception):  # errors of the connection do not matter any more
                async with asyncio.timeout(CLOSE):
                    await self._nats.close()
        self.closed.set()

    async def request(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, timeout: float = ANSWER_TIMEOUT
    ) -> bytes:
        """Send a request and return one answer. Raises BusUnreachable, or BusError if nobody answers."""
        nats = sys.modules["nats"]
        try:
            message: Msg = await self.nats.request(subject, data, timeout=timeout, headers=headers)
        except nats.errors.NoRespondersError:
            raise BusError(f"nobody answers on {subject}", 503) from None
        except (nats.errors.Error, OSError, asyncio.InvalidStateError) as error:
            if isinstance(error, TimeoutError) and not self.closed.is_set():
                raise BusUnreachable(f"the bus {self.shown} did not answer within {timeout:g} s") from None
            raise self.ended from None
        return message.data

    async def api(
        self, name: str, body: Mapping[str, Any] | None = None, timeout: float = ANSWER_TIMEOUT
    ) -> dict[str, Any]:
        """Send a request to JetStream (``STREAM.INFO.name``, ...). Raises BusError with JetStream's code if refused."""
        payload = b"" if body is None else json.dumps(body).encode()
        try:
            answer = await self.request(f"$JS.API.{name}", payload, timeout=timeout)
        except BusError as error:
            if error.code == 503:
                raise BusError(f"the bus {self.shown} has no JetStream: start nats-server with -js", 503) from None
            raise
        return self._checked(answer)

    def _checked(self, answer: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(answer)
        if error := found.get("error"):
            code = int(error.get("err_code") or error.get("code") or 0)
            raise BusError(self.clean(str(error.get("description"))), code)
        return found

    async def store(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int:
        """Store one message; returns its sequence. Raises BusError; its code may be one of WRONG_SEQUENCE."""
        return int(self._checked(await self.request(subject, data, headers))["seq"])

    async def put(self, subject: str, data: bytes, expected: int) -> int:
        """Store ``data`` if the subject's last message still has the sequence ``expected`` (0: there is no message)."""
        return await self.store(subject, data, {"Nats-Expected-Last-Subject-Sequence": str(expected)})

    async def last(self, stream: str, subjects: Sequence[str]) -> list[Stored]:
        """The last message of each of these subjects, which may have wildcards; [] if the stream does not exist."""
        found: list[Stored] = []
        for at in range(0, len(subjects), AT_ONCE):
            body = {"multi_last": list(subjects[at : at + AT_ONCE])}
            found += await self._batch(stream, body)
        return found

    async def since(self, stream: str, subject: str, start: datetime, count: int) -> list[Stored]:
        """Up to ``count`` messages of one subject that were stored from ``start`` on, oldest first."""
        return await self._batch(stream, {"start_time": start.isoformat(), "next_by_subj": subject, "batch": count})

    async def from_sequence(self, stream: str, subject: str, sequence: int, count: int) -> list[Stored]:
        """Up to ``count`` messages of one subject from this sequence on, oldest first."""
        return await self._batch(stream, {"seq": sequence, "next_by_subj": subject, "batch": count})

    async def _batch(self, stream: str, body: Mapping[str, Any]) -> list[Stored]:
        inbox = self.nats.new_inbox()
        done = asyncio.Event()
        found: list[Stored] = []
        failure: list[str] = []

        async def take(message: Msg) -> None:
            headers = message.headers or {}
            status = headers.get("Status")
            if status is None:
                at = unix_ns(headers["Nats-Time-Stamp"])
                found.append(Stored(headers["Nats-Subject"], message.data, int(headers["Nats-Sequence"]), at))
            elif status in ("204", "404", "503"):  # the batch has ended (204), no message (404), no such stream (503)
                done.set()
            else:
                failure.append(str(headers.get("Description", status)))
                done.set()

        subscription = await self.subscribe(inbox, take)
        try:
            await self.nats.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(body).encode(), reply=inbox)
            await self.until(done, ANSWER_TIMEOUT + len(found) / 1000)
        except TimeoutError:
            raise BusUnreachable(f"the bus {self.shown} did not answer within {ANSWER_TIMEOUT:g} s") from None
        finally:
            await self.unsubscribe(subscription)
        if failure:
            raise BusError(self.clean(f"{stream}: {failure[0]}"))
        return found

    async def until(self, event: asyncio.Event, timeout: float) -> None:
        """Wait for ``event``; raises TimeoutError, or BusUnreachable if the connection ends first."""
        waiting = [asyncio.ensure_future(each.wait()) for each in (event, self.closed)]
        try:
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        if not event.is_set():
            raise self.ended if self.closed.is_set() else TimeoutError

    async def subscribe(self, subject: str, take: OnMessage) -> Subscription:
        """Call ``take`` with each message of a subject from now on. Raises BusUnreachable."""
        nats = sys.modules["nats"]
        try:
            return await self.nats.subscribe(subject, cb=take, pending_bytes_limit=PENDING)
        except (nats.errors.Error, OSError):
            raise self.ended from None

    async def unsubscribe(self, subscription: Subscription) -> None:
        nats = sys.modules["nats"]
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()


def unix_ns(stamp: str) -> int:
    """Convert an RFC 3339 time, with up to nine digits after the second, to Unix ns."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1_000_000_000 + int(rest[:9].ljust(9, "0") or 0)


class _Hidden:
    """A finder that hides aiohttp from imports in the thread that installed the finder.

    nats-py imports aiohttp only for WebSockets, and the import takes a quarter of a second and 15 MB."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "aiohttp" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(name)


@contextlib.contextmanager
def _without_aiohttp() -> Iterator[None]:
    if "aiohttp" in sys.modules:
        yield
        return
    finder = _Hidden()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _import_nats() -> Any:
    with _without_aiohttp():
        import nats
        import nats.aio.client
        import nats.errors
    return nats
