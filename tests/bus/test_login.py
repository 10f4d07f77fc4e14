"""A bus with TLS gives access only with the login from the settings or the environment, and no secret is shown."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import nkeys  # type: ignore[import-untyped] # the package has no types
import pytest

from exchanges.bus.client import BusClient, BusError, BusUnreachable
from feed.settings import Bus
from feed.sinks.bus.server import program
from tests.bus.support import needs_bus

pytestmark = needs_bus
SECRET = "pass-w0rd-of-the-bus"


@asynccontextmanager
async def server(folder: Path, more: str) -> AsyncIterator[int]:
    """Run a nats-server with additional configuration; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "server.conf"
    config.write_text(f"host: 127.0.0.1\nport: {port}\n{more}\n")
    process = await asyncio.create_subprocess_exec(str(program()), "-c", str(config), stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, opened = await asyncio.open_connection("127.0.0.1", port)
                    opened.close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def guarded(tmp_path: Path, certificate: Path) -> AsyncIterator[Bus]:
    """A nats-server that requires TLS and a password."""
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{certificate}" }}\njetstream {{ store_dir: "{tmp_path}" }}\n'
    async with server(tmp_path, f"{tls}authorization {{ user: me, password: {SECRET} }}") as port:
        yield Bus(f"tls://127.0.0.1:{port}", user="me", password=SECRET, ca=str(certificate))


async def test_the_bus_is_reached_with_the_login_and_the_certificate_authority(
    guarded: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await BusClient.dial(guarded.address, "test")
    assert (await client.api("INFO"))["type"].endswith("account_info_response")
    await client.close()
    monkeypatch.setenv("MARKET_FEED_BUS_PASSWORD", SECRET)
    client = await BusClient.dial(replace(guarded, password=None).address, "test")
    await client.close()
    within = guarded.url.replace("//", f"//me:{SECRET}@")
    client = await BusClient.dial(Bus(within, ca=guarded.ca).address, "test")
    assert SECRET not in client.shown
    await client.close()


async def test_a_wrong_login_is_refused_and_not_shown(guarded: Bus) -> None:
    wrong = replace(guarded, password=f"{SECRET}-not")
    with pytest.raises(BusUnreachable) as raised:
        await BusClient.dial(wrong.address, "test")
    assert "uthoriz" in str(raised.value)
    assert SECRET not in str(raised.value)


async def test_a_certificate_of_an_unknown_authority_is_refused(guarded: Bus) -> None:
    with pytest.raises(BusUnreachable, match="certificate"):
        await BusClient.dial(replace(guarded, ca=None).address, "test")


async def test_a_token_gives_access_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(tmp_path, f"authorization {{ token: {SECRET} }}") as port:
        bus = Bus(f"nats://127.0.0.1:{port}", token=SECRET)
        await (await BusClient.dial(bus.address, "test")).close()
        monkeypatch.setenv("MARKET_FEED_BUS_TOKEN", SECRET)
        await (await BusClient.dial(replace(bus, token=None).address, "test")).close()
        monkeypatch.delenv("MARKET_FEED_BUS_TOKEN")
        for wrong in (None, f"{SECRET}-not"):
            with pytest.raises(BusUnreachable) as raised:
                await BusClient.dial(replace(bus, token=wrong).address, "test")
            assert "uthoriz" in str(raised.value)
            assert SECRET not in str(raised.value)


async def test_a_creds_file_gives_access(tmp_path: Path) -> None:
    """The server has an operator, an account and a user as JWTs, like the clusters of companies and providers."""
    keys = {kind: _key(kind) for kind in ("operator", "account", "user")}
    names = {kind: key.public_key.decode() for kind, key in keys.items()}
    operator = _jwt(keys["operator"], names["operator"], {"type": "operator", "version": 2})
    everything = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    limits = {**everything, "wildcards": True}
    account = _jwt(keys["operator"], names["account"], {"type": "account", "version": 2, "limits": limits})
    user = _jwt(keys["account"], names["user"], {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1})
    file = tmp_path / "bus.creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{keys['user'].seed.decode()}\n------END USER NKEY SEED------\n"
    )
    more = f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {names['account']}: {account} }}"
    async with server(tmp_path, more) as port:
        bus = Bus(f"nats://127.0.0.1:{port}", creds=str(file))
        client = await BusClient.dial(bus.address, "test")
        with pytest.raises(BusError, match="nobody answers"):
            await client.request("somewhere")
        await client.close()
        with pytest.raises(BusUnreachable, match="uthoriz"):
            await BusClient.dial(replace(bus, creds=None).address, "test")
        with pytest.raises(BusUnreachable, match=r"none\.creds"):
            await BusClient.dial(replace(bus, creds=str(tmp_path / "none.creds")).address, "test")
        file.write_text("no creds")
        with pytest.raises(BusUnreachable, match="creds"):
            await BusClient.dial(bus.address, "test")


def _key(kind: str) -> nkeys.KeyPair:
    prefix = getattr(nkeys, f"PREFIX_BYTE_{kind.upper()}")
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))


def _jwt(issuer: nkeys.KeyPair, subject: str, nats: dict[str, object]) -> str:
    claims = {"jti": "1", "iat": 1, "iss": issuer.public_key.decode(), "sub": subject, "name": "test", "nats": nats}
    parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return b".".join((signed, base64.urlsafe_b64encode(issuer.sign(signed)).rstrip(b"="))).decode()


@pytest.mark.parametrize("what", ["creds", "ca"])
async def test_dial_does_not_wait_for_a_pipe_in_place_of_a_file(what: str, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    bus = Bus("nats://127.0.0.1:9", **{what: str(pipe)})
    with pytest.raises(BusUnreachable, match=f"{what}: found {pipe}: it is no plain file"):
        await BusClient.dial(bus.address, "test")


async def test_dial_does_not_wait_for_a_pipe_in_place_of_the_systems_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    monkeypatch.setenv("SSL_CERT_FILE", str(pipe))
    with pytest.raises(BusUnreachable, match=f"SSL_CERT_FILE: found {pipe}: it is no plain file"):
        await BusClient.dial(Bus("tls://127.0.0.1:9").address, "test")


@pytest.mark.parametrize("how", ["tls://", "an authority"])
async def test_a_login_is_never_sent_in_plain_text_where_tls_is_required(how: str, certificate: Path) -> None:
    """The server, or an attacker in its place, has no TLS: nats-py alone would send the login in plain text."""
    heard = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"headers":true,"proto":1}\r\n')
        heard.extend(await reader.read())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        at = "{}:{}".format(*server.sockets[0].getsockname())
        bus = Bus(f"tls://{at}") if how == "tls://" else Bus(f"nats://{at}", ca=str(certificate))
        with pytest.raises(BusUnreachable, match="has no TLS"):
            await BusClient.dial(replace(bus, user="me", password=SECRET).address, "test")
    assert heard == b""
