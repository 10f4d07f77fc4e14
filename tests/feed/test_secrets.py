"""No event, log line, error or repr of the feed shows a password of the settings or the environment."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from loguru import logger

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import Simulator
from feed import MarketFeed, NoExchangeAvailable, Settings
from feed.events import CoinConfig
from feed.settings import Connection, ExchangeConfig
from tests.exchanges.support import served
from tests.support import Recorder, until

PASSWORD, KEY = "hunter2-S3cr3t", "AKIA-0123456789"
LOGIN = b64encode(f"me:{PASSWORD}".encode()).decode().rstrip("=")
SECRETS = (PASSWORD, KEY, LOGIN)
NASTY = f"\x1b]0;\u202e{KEY}\x9b31m"


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return {"transport": request.param, "apiKey": KEY, "headers": {"X-Key": KEY}}


@pytest.fixture
def log() -> Iterator[list[str]]:
    """All log lines, in loguru's most detailed form, which shows the variables of a traceback."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level=0, diagnose=True, backtrace=True, colorize=False)
    logger.enable("feed")
    logger.enable("exchanges")
    yield lines
    logger.disable("feed")
    logger.disable("exchanges")
    logger.remove(sink)


@asynccontextmanager
async def refusing_proxy(status: int) -> AsyncIterator[str]:
    """A proxy that refuses every request, and repeats the password in reason, header and body of its answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            body = f"{head} me:{PASSWORD} {NASTY}"
            writer.write(
                f"HTTP/1.1 {status} No to {LOGIN} {PASSWORD}\r\nX-Sent: {PASSWORD}\r\n"
                f"Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
            )
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


def settings(options: dict[str, Any], **where: Any) -> Settings:
    return Settings(
        coins=[CoinConfig("BTC")],
        exchanges=[ExchangeConfig("binance", options=options, **where)],
        connection=Connection(backoff_initial=0.05, backoff_max=0.2, connect_timeout=2.0),
    )


async def all_said(feed: MarketFeed, recorder: Recorder, timeout: float) -> str:
    """Let a failing feed connect and disconnect, and return the texts of its errors, status events and reprs."""
    said = []
    try:
        await feed.connect(timeout)
    except NoExchangeAvailable as error:
        said += [str(error), repr(error), "".join(traceback.format_exception(error)), repr(error.__context__)]
    said += [repr(feed), str(feed.status), repr(feed.get_status()), repr(feed.get_health())]
    await feed.disconnect()
    return "\n".join([*said, *(repr(each) for each in recorder.status)])


def assert_clean(said: str, log: list[str]) -> None:
    for secret in SECRETS:
        assert secret not in said
        assert not any(secret in line for line in log)
    assert not any(mark in line for line in [said, *log] for mark in "\x1b\x9b\u202e")


@pytest.mark.parametrize("status", [407, 404, 451, 502])
@pytest.mark.parametrize("scheme", ["", "s"], ids=["plain", "tls"])
async def test_the_error_of_a_refusing_proxy_shows_no_password(
    options: dict[str, Any], status: int, scheme: str, log: list[str]
) -> None:
    async with refusing_proxy(status) as at:
        where = {"rest_url": f"http{scheme}://venue.invalid", "proxy": f"http://me:{PASSWORD}@{at}"}
        feed = MarketFeed(settings=settings(options, **where))
        recorder = Recorder(feed)
        assert_clean(await all_said(feed, recorder, 1.0), log)
        assert recorder.status
        assert log


async def test_the_error_of_a_refused_stream_shows_no_password(
    options: dict[str, Any], log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, refusing_proxy(407) as at:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{PASSWORD}@{at}")
        where = {"rest_url": simulator.rest_url, "ws_url": "ws://venue.invalid"}
        feed = MarketFeed(settings=settings(options, **where))
        recorder = Recorder(feed)
        assert_clean(await all_said(feed, recorder, 2.0), log)
        assert "407" in repr(recorder.status)


async def test_events_and_log_show_no_secret_that_a_venues_text_contains(
    options: dict[str, Any], log: list[str]
) -> None:
    """The text may be in a bad frame, in a refusal or in the reason of a close frame."""

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            await socket.receive()
            await socket.send_str(f'{{"e":"trade", {NASTY}')
            await socket.send_str(f'{{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"{NASTY}","q":[],"T":1,"m":true}}')
            await socket.send_str(json.dumps({"id": 1, "error": {"code": 2, "msg": NASTY}}))
            await socket.close(code=4001, message=NASTY.encode())
        return socket

    async with Simulator(venues=("binance",), rate=0) as simulator, served(web.get("/{path:.*}", talk)) as at:
        feed = MarketFeed(settings=settings(options, rest_url=simulator.rest_url, ws_url=f"ws://{at}"))
        recorder = Recorder(feed)
        assert_clean(await all_said(feed, recorder, 2.0), log)
        assert "bad_frame" in recorder.events


class Unfriendly(Exception):
    def __repr__(self) -> str:
        raise RuntimeError(KEY)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_the_error_of_a_callback_shows_no_secret(options: dict[str, Any], log: list[str], kind: str) -> None:
    """The secret is in the text of the error, in the text of its cause, and in a variable of the callback, which loguru
    would show."""
    async with Simulator(venues=("binance",), rate=50) as simulator:
        where = {"rest_url": simulator.rest_url, "ws_url": simulator.ws_url}
        given = settings({**options, "password": PASSWORD, "authorization": LOGIN}, **where)
        feed = MarketFeed(settings=given)

        def fail(event: object) -> None:
            password = str(given.exchanges[0].options["password"])
            try:
                raise ValueError(f"{password} {LOGIN}")
            except ValueError as error:
                if len(recorder.details("callback_error")) % 2:
                    raise Unfriendly(password) from error
                raise RuntimeError(given.exchanges[0].options) from error

        async def fail_later(event: object) -> None:
            fail(event)

        feed.subscribe_trades(fail if kind == "plain" else fail_later)
        feed.subscribe_price(fail if kind == "plain" else fail_later)
        recorder = Recorder(feed)
        await feed.connect()
        await until(lambda: len(recorder.details("callback_error")) >= 2)
        await feed.disconnect()
    said = repr(recorder.status)
    assert_clean(said, log)
    assert "RuntimeError" in said
    assert "Unfriendly" in said
    assert any("in fail" in line for line in log)  # the log names the function that raised the error


async def test_the_command_line_shows_no_password(tmp_path: Path) -> None:
    """Neither stdout nor stderr shows the password, for any command and log level."""
    async with refusing_proxy(407) as at:
        file = tmp_path / "settings.yaml"
        file.write_text(
            f"coins: [BTC]\nexchanges:\n- name: binance\n  rest_url: http://venue.invalid\n"
            f"  proxy: http://me:{PASSWORD}@{at}\n  options: {{apiKey: {KEY}}}\n"
        )
        for command in (["watch", "--json", "--seconds", "2", "--timeout", "6"], ["check", "--timeout", "3"]):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "feed", *command, "--settings", str(file), "--log-level", "DEBUG"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            said = (out + err).decode()
            assert process.returncode == 3
            assert "407" in said
            assert_clean(said, [])
