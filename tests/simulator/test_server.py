"""The simulator starts and ends cleanly, explains wrong arguments, and takes faults over its control interface."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import aiohttp
import pytest

from exchanges.simulator import Fault, ScheduledFault, Simulator, SimulatorError, parse_fault
from exchanges.simulator.faults import KINDS, allowed
from tests.simulator.client import dial, get, status_of, until


async def test_the_error_for_a_port_in_use_is_one_line() -> None:
    async with Simulator(rate=0) as sim:
        with pytest.raises(SimulatorError) as found:
            await Simulator(port=sim.port).start()
        assert str(found.value) == (
            f"port {sim.port} on 127.0.0.1 is already in use; choose another with --port, or 0 for any free one"
        )


async def test_closing_frees_the_port_and_leaves_no_task_even_with_clients() -> None:
    before = asyncio.all_tasks()
    sim = Simulator(rate=200)
    await sim.start()
    async with dial(sim, "/ws/btcusdt@trade") as client, dial(sim, "/v5/public/spot") as other:
        await until(lambda: client.frames)
        own = asyncio.all_tasks() - before
        await sim.close()
        assert await client.gone() in (1001, 1006)
        assert await other.gone() in (1001, 1006)
        await until(lambda: sum(not task.done() for task in own) <= 2)  # the tasks of the two clients
    await sim.close()
    await until(lambda: asyncio.all_tasks() == before)
    async with Simulator(port=sim.port, rate=0) as again:
        assert again.port == sim.port


async def test_closing_does_not_wait_for_slow_answers() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        with sim["binance"].slow_rest(60):
            call = asyncio.create_task(status_of(sim, "/api/v3/ping"))
            await until(lambda: sim["binance"].rest_calls)
            async with asyncio.timeout(5):
                await sim.close()
                with pytest.raises(aiohttp.ClientError):
                    await call


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"venues": ("nope",)}, "unknown venue 'nope'; allowed are binance, binance_us, bybit"),
    ({"venues": ("binance", "binance_us")}, "binance and binance_us have the same paths"),
    ({"venues": ()}, "venues must be names"),
    ({"venues": "binance"}, "venues must be names"),
    ({"rate": -1}, "rate must be 0 or more"),
    ({"coins": []}, "coins is empty"),
    ({"faults": ["nope@1"]}, "unknown kind 'nope'"),
    ({"faults": ["okx:cut@1"]}, "unknown venue 'okx'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_the_error_for_a_wrong_argument_says_what_is_allowed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SimulatorError) as found:
        Simulator(**arguments)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


async def test_the_printed_settings_have_the_simulators_addresses() -> None:
    async with Simulator(venues=("bybit", "binance_us"), rate=0) as sim:
        assert sim.settings_yaml() == (
            "exchanges:\n"
            f'  - {{name: bybit, rest_url: "http://127.0.0.1:{sim.port}", ws_url: "ws://127.0.0.1:{sim.port}"}}\n'
            f'  - {{name: binance_us, rest_url: "http://127.0.0.1:{sim.port}", ws_url: "ws://127.0.0.1:{sim.port}"}}\n'
        )
        assert await status_of(sim, "/api/v3/ping") == 200
        assert await status_of(sim, "/elsewhere") == 404


GOOD = [
    ("stall@20+5", ScheduledFault(Fault("stall"), 20, 5)),
    ("bybit:blocked-451@30+10", ScheduledFault(Fault("blocked", 451), 30, 10, "bybit")),
    ("cut@10", ScheduledFault(Fault("cut"), 10)),
    ("close-1008@10", ScheduledFault(Fault("close", 1008), 10)),
    ("mute@1+2", ScheduledFault(Fault("mute"), 1, 2)),
    ("refuse-429@1+2", ScheduledFault(Fault("refuse", 429, 5.0), 1, 2)),
    ("rest-down@1+2", ScheduledFault(Fault("rest-down", 503), 1, 2)),
    ("slow-rest-2@1+2", ScheduledFault(Fault("slow-rest", 2.0), 1, 2)),
    ("malformed-0.05@1", ScheduledFault(Fault("malformed", 0.05), 1)),
    ("silent-doge@1", ScheduledFault(Fault("silent", "DOGE"), 1)),
    ("tradeless-doge+0", ScheduledFault(Fault("tradeless", "DOGE"), 0, 0)),
    ("tradeless@1+2", ScheduledFault(Fault("tradeless", "ALL"), 1, 2)),
    ("late-0.1@0.5+1.5", ScheduledFault(Fault("late", 0.1), 0.5, 1.5)),
    ("doubled-0.1@1", ScheduledFault(Fault("doubled", 0.1), 1)),
    ("missing-0.1@1", ScheduledFault(Fault("missing", 0.1), 1)),
    ("partition@1+2", ScheduledFault(Fault("partition"), 1, 2)),
    ("binance_us:accept-then-drop@1+2", ScheduledFault(Fault("accept-then-drop"), 1, 2, "binance_us")),
    ("shutdown-notice@3", ScheduledFault(Fault("shutdown-notice"), 3)),
    ("stall+5", ScheduledFault(Fault("stall"), 0, 5)),
]


@pytest.mark.parametrize(("spec", "fault"), GOOD)
def test_the_text_of_a_fault_is_parsed(spec: str, fault: ScheduledFault) -> None:
    assert parse_fault(spec) == fault


@pytest.mark.parametrize(
    "spec",
    [
        "", "@1", "nope@1", "stall@", "stall@x", "stall@1+", "stall@1+x", "stall@-1", "cut@1+5", "stall-5@1",
        "blocked@1", "blocked-99@1", "close-1@1", "malformed@1", "malformed-2@1", "malformed-nan@1", "silent@1",
        "slow-rest-x@1", "Bybit:stall@1", "stall@nan",
    ],
)  # fmt: skip
def test_the_error_for_an_invalid_fault_is_one_line_that_quotes_the_text(spec: str) -> None:
    with pytest.raises(SimulatorError) as found:
        parse_fault(spec)
    assert repr(spec) in str(found.value)
    assert "\n" not in str(found.value)


def test_the_error_for_an_unknown_kind_names_all_kinds() -> None:
    with pytest.raises(SimulatorError) as found:
        parse_fault("nope@1")
    assert allowed() in str(found.value)
    assert all(kind in allowed() for kind in KINDS)


async def test_scheduled_faults_begin_and_end_by_themselves() -> None:
    async with Simulator(rate=0, faults=["bybit:stall@0.05+0.1", "binance:close-1012@0.1"]) as sim:
        async with dial(sim) as client:
            await until(lambda: sim["bybit"].faults == ["stall"])
            assert sim["binance"].faults == []
            assert await client.gone() == 1012
        await until(lambda: sim["bybit"].faults == [])


async def test_the_control_interface_starts_faults_and_shows_the_state() -> None:
    async with Simulator(rate=0) as sim, dial(sim, "/ws/btcusdt@trade") as client, aiohttp.ClientSession() as session:
        await until(lambda: sim["binance"].connections)
        await sim["binance"].trade("BTC", count=3)
        async with session.post(f"{sim.rest_url}/simulator/faults", json={"fault": "bybit:stall+5"}) as response:
            assert await response.json() == {"started": "stall", "start": 0.0, "duration": 5.0}
        await until(lambda: sim["bybit"].faults)
        state = await get(sim, "/simulator")
        assert state["replay"] is None
        assert state["venues"]["bybit"]["faults"] == ["stall"]
        binance = state["venues"]["binance"]
        assert (binance["trades"], binance["violations"], binance["dials"]) == (3, [], 1)
        assert binance["connections"] == [{"id": 1, "subscriptions": ["btcusdt@trade"], "waiting": 0}]
        async with session.post(f"{sim.rest_url}/simulator/faults", json={"fault": "binance:cut"}) as response:
            assert response.status == 200
        assert await client.gone() == 1006


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"fault": 5}', '{"fault": "nope"}', '{"fault": "okx:cut"}'])
async def test_the_control_interface_refuses_invalid_requests(body: str) -> None:
    async with (
        Simulator(rate=0) as sim,
        aiohttp.ClientSession() as session,
        session.post(f"{sim.rest_url}/simulator/faults", data=body) as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"]


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        '{"fault": ' + DEEP,
        '{"a":' * 50_000,
        "9" * 10_000,
        b"\xff\xfe",
        b'{"fault": "\xed\xa0\x80"}',
        '{"fault": "\\ud800"}',
    ],
    ids=[
        "arrays",
        "a fault of arrays",
        "objects",
        "a long number",
        "no UTF-8",
        "half a surrogate pair",
        "an escaped one",
    ],
)
async def test_the_control_interface_refuses_deeply_nested_values_long_numbers_and_invalid_text(
    body: str | bytes,
) -> None:
    async with Simulator(rate=0) as sim, aiohttp.ClientSession() as session:
        for kind in ("application/json", "application/json; charset=nope"):
            request = session.post(f"{sim.rest_url}/simulator/faults", data=body, headers={"Content-Type": kind})
            async with request as response:
                assert response.status == 400
                assert (await response.json())["error"]
        assert sim["binance"].faults == []


async def control(sim: Simulator, *headers: str, method: str = "POST") -> int:
    """The HTTP status of the answer to a request with exactly these headers."""
    body = b'{"fault": "stall+60"}'
    path = "/simulator/faults" if method == "POST" else "/simulator"
    head = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(body)}", "Connection: close", *headers]
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_control_interface_refuses_pages_of_other_origins(method: str) -> None:
    async with Simulator(rate=0) as sim:
        own = f"Host: 127.0.0.1:{sim.port}"
        for headers in (
            ["Origin: https://evil.example"],
            ["Origin: null"],
            ["Origin: "],
            [f"Origin: http://127.0.0.1:{sim.port + 1}"],
            [f"Origin: https://127.0.0.1:{sim.port}"],
            [f"Origin: http://127.0.0.1:{sim.port}", "Origin: http://evil.example"],
            ["Sec-Fetch-Site: cross-site"],
            ["Sec-Fetch-Site: same-site"],
        ):
            assert await control(sim, own, *headers, method=method) == 403
        assert sim["binance"].faults == []
        assert await control(sim, own, f"Origin: http://127.0.0.1:{sim.port}", method=method) == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_control_interface_refuses_requests_to_foreign_host_names(method: str) -> None:
    """An attacker can let a host name of their own point to this address. A browser would then let the attacker's page
    read the answers."""
    async with Simulator(rate=0) as sim:
        for host in ("evil.example", f"evil.example:{sim.port}", "127.0.0.1.evil.example", "localhost@evil.example",
                     "localhost:x", "", "[::1", "localhost/x"):  # fmt: skip
            assert await control(sim, f"Host: {host}", method=method) == 400
        assert await control(sim, method=method) == 400
        assert await control(sim, "Host: localhost", "Host: evil.example", method=method) == 400
        assert sim["binance"].faults == []
        for host in (f"127.0.0.1:{sim.port}", f"LOCALHOST:{sim.port}", "localhost", f"[::1]:{sim.port}", "192.168.1.5"):
            assert await control(sim, f"Host: {host}", method=method) == 200


async def test_the_control_interface_refuses_a_shutdown_notice_for_bybit_which_has_none() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, aiohttp.ClientSession() as session:
        async with session.post(f"{sim.rest_url}/simulator/faults", json={"fault": "shutdown-notice"}) as response:
            assert response.status == 400
        assert await status_of(sim, "/simulator/nope") == 404


UPGRADE = (
    b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_a_client_that_disconnects_during_the_upgrade_causes_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """The client sends the request and closes the connection before the answer; no error is logged."""
    async with Simulator(rate=0) as sim:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", sim.port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
                client.sendall(UPGRADE)
                await asyncio.sleep(0)
        await until(lambda: not sim["binance"].connections and len(sim["binance"].dials) > 0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_the_true_book_can_be_read_over_http() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        await sim["binance"].trade("BTC")
        sim["binance"].market("BTC").open_book(sim["binance"].now())
        first = await get(sim, "/simulator/books/binance/BTC", depth=3)
        await sim["binance"].move_book("BTC", 30)
        then = await get(sim, "/simulator/books/binance/BTC", sequence=first["sequence"], depth=3)
        assert then == first
        assert len(first["bids"]) == len(first["asks"]) == 3
        assert (await get(sim, "/simulator/books/binance/BTC", sequence=1))["error"]
        assert "nope" in (await get(sim, "/simulator/books/nope/BTC"))["error"]
        assert "NOPE" in (await get(sim, "/simulator/books/binance/NOPE"))["error"]
