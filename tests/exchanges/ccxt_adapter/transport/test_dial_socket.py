"""A dial that is cancelled at any moment closes its own file descriptor and no other one, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from exchanges.ccxt_adapter.transport.http_client import HttpClient
from exchanges.simulator import Simulator

uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

TURNS = 60  # dials are cancelled after 0, 1, 2, ... turns of the loop; this is the number of dials
TAKEN = 40  # descriptors that are opened after a cancelled dial

pytestmark = pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")


async def cancelled_after(turns: int, dial: Callable[[], Awaitable[object]]) -> None:
    dialling = asyncio.ensure_future(dial())
    for _ in range(turns):
        await asyncio.sleep(0)
    dialling.cancel()
    await asyncio.gather(dialling, return_exceptions=True)


def others() -> Iterator[int]:
    """Yield the descriptors of newly opened files; the system gives them the lowest free numbers."""
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


async def request(client: HttpClient, simulator: Simulator) -> None:
    async with client.get(f"{simulator.rest_url}/api/v3/time"):
        pass


async def websocket(client: HttpClient, simulator: Simulator) -> None:
    connection = await client.ws_connect(f"{simulator.ws_url}/ws").__aenter__()
    await connection.close()


@pytest.mark.parametrize("dial", [request, websocket])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_cancelled_dial_over_aiohttp_closes_no_other_descriptor(
    run: Callable[..., None], dial: Callable[[HttpClient, Simulator], Awaitable[None]]
) -> None:
    async def dials() -> None:
        clients: list[HttpClient] = []  # one for each dial, because a client reuses its open connections

        async def dialled() -> None:
            clients.append(HttpClient(True, lambda url: None))
            await dial(clients[-1], simulator)

        async with Simulator(venues=("binance",), rate=1) as simulator:
            try:
                await dials_cancelled(dialled)
            finally:
                for client in clients:
                    await client.close()

    run(dials())
