"""Compares the server with many clients to a bare aiohttp server: delays, completeness, memory.

    python -m tests.benchmarks.server [--clients 200] [--rate 1000] [--seconds 10] [--rounds 2]

Each round runs, one after the other and for so many seconds: the server over a feed; the same server with one client in
ten that reads nothing; a bare aiohttp server that sends as many bytes in ``send_str`` calls, one event to each client;
and a floor that writes the same bytes to the transports. A server has one core; its source and its clients share the
other core. The delay is from the moment at which the server's process had read an event (a bare server: had made
an event) to the moment at which a client's process reads the event.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.benchmarks.cores import on_core
from tests.benchmarks.memory import rss

HERE = [sys.executable, "-m", "tests.benchmarks.server"]
WAYS = ("feed", "feed, stalled", "send_str", "transport")
PARSED = 10  # one in ten clients measures delays; all clients count events
STAMP = b'"received_at":'
STALLED = 10  # one in ten clients reads nothing
SETTLE = 1.5  # seconds before the measurement


async def source(rate: float) -> None:
    from exchanges.simulator import Simulator

    on_core(0)
    async with Simulator(venues=("binance",), rate=rate) as simulator:
        print(json.dumps([simulator.rest_url, simulator.ws_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def measured(url: str, seconds: float) -> None:
    """Print the server's address, and the CPU time and memory that it used while clients read."""
    print(json.dumps(url), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    before, memory = time.process_time(), rss()
    await asyncio.sleep(seconds)
    print(json.dumps([(time.process_time() - before) / seconds, rss() - memory]), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def serve_feed(urls: list[str], seconds: float) -> None:
    from feed import MarketFeed, Settings
    from feed.settings import ExchangeConfig
    from feed.sinks.server.app import Server

    on_core(1)
    venue = ExchangeConfig("binance", rest_url=urls[0], ws_url=urls[1])
    settings = Settings(exchanges=[venue], channels=["trades"])
    feed = MarketFeed(settings=settings)
    async with Server(feed, settings, port=0) as server, feed:
        await measured(server.url, seconds)


async def serve_bare(send: Callable[[Any, str], Awaitable[None]], rate: float, seconds: float) -> None:
    on_core(1)
    clients: list[tuple[web.WebSocketResponse, Any]] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        clients.append((socket, request.transport))
        async for _ in socket:
            pass
        return socket

    async def publish() -> None:
        begin = time.monotonic()
        for number in range(10**9):
            now = time.time_ns()
            text = (
                f'{{"seq":{number},"type":"trade","coin":"BTC","price":64123.45,"quantity":0.0123,'
                f'"is_buyer_maker":false,"timestamp":{now // 10**6},"exchange":"binance","trade_id":"{10**9 + number}",'
                f'"received_at":{now},"backfilled":false,"market":"BTC/USDT"}}'
            )
            for client in clients[:]:
                if client[1].is_closing():
                    clients.remove(client)
                else:
                    await send(client, text)
            wait = begin + number / rate - time.monotonic()
            await asyncio.sleep(max(0.0, wait))

    app = web.Application()
    app.add_routes([web.get("/v1/stream", stream)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    publishing = asyncio.create_task(publish())
    await measured(f"http://127.0.0.1:{runner.addresses[0][1]}/", seconds)
    publishing.cancel()


async def send_str(client: tuple[web.WebSocketResponse, Any], text: str) -> None:
    await client[0].send_str(text)


async def to_transport(client: tuple[web.WebSocketResponse, Any], text: str) -> None:
    body = text.encode()
    client[1].write(b"\x81\x7e" + len(body).to_bytes(2, "big") + body)


class Reader(asyncio.Protocol):
    """One client: counts the frames that it gets, and keeps the delays of some."""

    def __init__(self, stalls: bool, parses: bool) -> None:
        self.stalls, self.parses = stalls, parses
        self.frames = 0
        self.delays: list[int] = []  # ns
        self.seqs: list[int] = []
        self._rest = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        key = base64.b64encode(os.urandom(16)).decode()
        text = json.dumps({"op": "subscribe", "channels": ["trades"]}).encode()
        frame = bytes((0x81, 0x80 | len(text))) + bytes(4) + text
        head = "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        transport.write(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode() + frame)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        data = self._rest + data
        at = 0
        if not self._open:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self._rest = data
                return
            self._open = True
            if self.stalls:
                self.transport.pause_reading()
        while len(data) - at >= 4:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            if len(data) - at < head + size:
                break
            if data[at] == 0x81 and data[at + head : at + head + 8] == b'{"seq":' + data[at + head + 7 : at + head + 8]:
                self.frames += 1
                if self.parses:
                    body = data[at + head : at + head + size]
                    begin = body.index(STAMP) + len(STAMP)
                    self.delays.append(now - int(body[begin : begin + 19]))
                    self.seqs.append(int(body[7 : body.index(b",")]))
            at += head + size
        self._rest = data[at:]


async def read(url: str, count: int, seconds: float, stalled: bool) -> None:
    """Print the frames per client and second, whether each client got every frame, and the delays in ms."""
    on_core(0)
    port = int(url.rstrip("/").rpartition(":")[2])
    loop = asyncio.get_running_loop()
    readers = []
    for number in range(count):
        stalls = stalled and number % STALLED == STALLED - 1
        _, reader = await loop.create_connection(
            lambda stalls=stalls, number=number: Reader(stalls, number % PARSED == 0),  # type: ignore[misc] # mypy refuses a lambda with a default
            "127.0.0.1",
            port,
        )
        readers.append(reader)
    reading = [reader for reader in readers if not reader.stalls]
    await asyncio.sleep(SETTLE)
    for reader in reading:
        reader.frames = 0
        reader.delays.clear()
        reader.seqs.clear()
    print("ready", flush=True)
    await asyncio.sleep(seconds)
    frames = [reader.frames for reader in reading]
    complete = all(
        not reader.seqs or reader.seqs == list(range(reader.seqs[0], reader.seqs[0] + len(reader.seqs)))
        for reader in reading
    )
    delays = sorted(delay for reader in reading for delay in reader.delays) or [0]
    found = {
        "rate": statistics.mean(frames) / seconds,
        "apart": max(frames) - min(frames),
        "complete": complete,
        "p50": delays[len(delays) // 2] / 1e6,
        "p99": delays[int(len(delays) * 0.99)] / 1e6,
    }
    print(json.dumps(found), flush=True)


def once(way: str, urls: str, args: argparse.Namespace) -> dict[str, Any]:
    pipe = subprocess.PIPE
    numbers = ["--seconds", str(args.seconds), "--rate", str(args.rate), "--clients", str(args.clients)]
    with subprocess.Popen([*HERE, "--serve", way, "--urls", urls, *numbers], stdin=pipe, stdout=pipe, text=True) as it:
        assert it.stdout is not None
        assert it.stdin is not None
        url = json.loads(it.stdout.readline())
        with subprocess.Popen(
            [*HERE, "--read", way, "--urls", json.dumps([url]), *numbers], stdout=pipe, text=True
        ) as r:
            assert r.stdout is not None
            r.stdout.readline()
            it.stdin.write("\n")
            it.stdin.flush()
            found: dict[str, Any] = json.loads(r.stdout.readline())
            found["cpu"], found["memory"] = json.loads(it.stdout.readline())
        it.stdin.close()
    return found


def measure(args: argparse.Namespace) -> None:
    pipe = subprocess.PIPE
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    with subprocess.Popen([*HERE, "--source", "--rate", str(args.rate)], stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        urls = server.stdout.readline().strip()
        for _ in range(args.rounds):
            found = {way: once(way, urls, args) for way in WAYS}
            for way, each in found.items():
                ratios[way].append(each["p99"] / found["send_str"]["p99"])
                print(
                    f"{way:14} {each['rate']:6.0f} events/s to each of {args.clients}, "
                    f"{'complete' if each['complete'] else 'NOT COMPLETE'}, p50 {each['p50']:8.2f} ms, "
                    f"p99 {each['p99']:8.2f} ms, {100 * each['cpu']:4.0f} % of a core, {each['memory']:+5.1f} MB",
                    flush=True,
                )
        server.terminate()
    for way, ratio in ratios.items():
        print(f"{way:14} p99 {statistics.median(ratio):.2f} times that of send_str (median of {len(ratio)} rounds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=2)
    for hidden in ("--serve", "--read"):
        parser.add_argument(hidden, choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--source", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--urls", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.source:
        asyncio.run(source(args.rate))
    elif args.serve:
        bare = {"send_str": send_str, "transport": to_transport}.get(args.serve)
        asyncio.run(serve_feed(args.urls, args.seconds) if bare is None else serve_bare(bare, args.rate, args.seconds))
    elif args.read:
        asyncio.run(read(args.urls[0], args.clients, args.seconds, args.read == "feed, stalled"))
    else:
        measure(args)


if __name__ == "__main__":
    main()
