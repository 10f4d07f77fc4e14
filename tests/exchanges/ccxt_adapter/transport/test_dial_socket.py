"""A cancelled dial closes its own file descriptor and no other one, whenever it is cancelled; this holds on uvloop
too."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from exchanges.ccxt_adapter.transport.http_client import HttpClient
from exchanges.simulator import Simulator

uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

TURNS = 30  # a dial is cancelled after each number of loop turns below this
TAKEN = 40  # descriptors that are opened after a cancelled dial

pytestmark = pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")


async def cancelled_after(turns: int, dial: Callable[[], Awaitable[object]]) -> None:
    dialling = asyncio.ensure_future(dial())
    for _ in range(turns):
        await asyncio.sleep(0)
    dialling.cancel()
    await asyncio.gather(dialling, return_exceptions=True)


def others() -> Iterator[int]:
    """Open files, so that they get the free descriptors."""
    for _ in range(TAKEN):
        yield os.open(os.devnull, os.O_RDONLY)


async def dials_cancelled(dial: Callable[[], Awaitable[object]]) -> None:
    for turns in range(TURNS):
        await cancelled_after(turns, dial)
        taken = {descriptor: os.fstat(descriptor).st_ino for descriptor in others()}
        gc.collect()
        assert {descriptor: os.fstat(descriptor).st_ino for descriptor in taken} == taken
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_cancelled_request_closes_no_other_descriptor(run: Callable[..., None]) -> None:
    async def requests() -> None:
        async with Simulator(venues=("binance",), rate=1) as simulator:
            url = f"{simulator.rest_url}/api/v3/time"
            clients: list[HttpClient] = []  # one for each request, because a client reuses its open connections

            async def request() -> None:
                clients.append(HttpClient(True, lambda url: None))
                async with clients[-1].get(url):
                    pass

            try:
                await dials_cancelled(request)
            finally:
                for client in clients:
                    await client.close()

    run(requests())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_cancelled_dial_over_picows_closes_no_other_descriptor(run: Callable[..., None]) -> None:
    pytest.importorskip("picows", reason="the extra [fast] is not installed")
    from ssl import create_default_context

    from exchanges.ccxt_adapter.transport.dial import connect

    tls = create_default_context()

    async def dials() -> None:
        async with Simulator(venues=("binance",), rate=1) as simulator:

            async def dial() -> None:
                connection = await connect(f"{simulator.ws_url}/ws", {}, tls, 1 << 20, False)
                connection.abort()

            await dials_cancelled(dial)

    run(dials())
