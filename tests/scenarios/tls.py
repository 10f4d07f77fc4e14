"""Exchanges behind TLS: a test's own certificate authority, its certificates, servers that use them, and proxies."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """A company's own certificate authority; ``file`` has the certificate that programs must trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company")])
        self.file = folder / "company.pem"
        mine = self._certificate(self._name, self._key, "", DAY, DAY, authority=True)
        self.file.write_bytes(mine.public_bytes(serialization.Encoding.PEM))

    def server(
        self, host: str, since: timedelta = DAY, until: timedelta = DAY, *, itself: bool = False
    ) -> ssl.SSLContext:
        """The TLS context of a server at ``host``. Its certificate became valid ``since`` ago and stays valid for
        ``until`` from now; with ``itself`` it is self-signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        made = self._certificate(subject, key, host, since, until, signed_by=key if itself else self._key)
        file = self._folder / f"{host}-{made.serial_number}"
        plain = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, plain[1], plain[0])
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        host: str,
        since: timedelta,
        until: timedelta,
        *,
        authority: bool = False,
        signed_by: ec.EllipticCurvePrivateKey | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        signer = signed_by or self._key
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer is key else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - since)
            .not_valid_after(now + until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            made = made.add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
        return made.sign(signer, hashes.SHA256())


def _alternative(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(host))
    return x509.DNSName(host)


@asynccontextmanager
async def tls_before(port: int, context: ssl.SSLContext) -> AsyncIterator[str]:
    """A TLS server that passes the plain text on to the server at ``port``; yields host:port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _joined(reader, writer, f"127.0.0.1:{port}")

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with _serving(server) as at:
        yield at


class Tunnel:
    """A proxy that answers CONNECT; all tunnels lead to ``to``. ``how``: the way in which the proxy fails, "" for none.

    "hangs" and "closes": no answer. "goes dumb": the tunnel is opened, but passes no data on. Any other text is the
    status line of a refusal.
    """

    def __init__(self, to: str = "", how: str = "") -> None:
        self.to = to
        self.how = how
        self.asked: list[str] = []
        self.logins: set[str] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split("\r\n")[0])
        for line in head.split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "proxy-authorization":
                self.logins.add(b64decode(value.removeprefix("Basic ")).decode())
        if self.how == "hangs":
            await reader.read(-1)
        elif self.how == "closes":
            return
        elif self.how == "goes dumb":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await reader.read(-1)
        elif self.how:
            words = f"{head}{self.logins}"
            writer.write(f"HTTP/1.1 {self.how} {self.logins}\r\nContent-Length: {len(words)}\r\n\r\n{words}".encode())
            await writer.drain()
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _joined(reader, writer, self.to)


@asynccontextmanager
async def tunnelling(
    to: str = "", how: str = "", context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, Tunnel]]:
    """A running Tunnel and its host:port; with ``context`` clients speak TLS to the proxy."""
    tunnel = Tunnel(to, how)
    server = await asyncio.start_server(tunnel.answer, "127.0.0.1", 0, ssl=context)
    async with _serving(server) as at:
        yield at, tunnel


@asynccontextmanager
async def _serving(server: asyncio.Server) -> AsyncIterator[str]:
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def _joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str) -> None:
    host, port = to.split(":")
    there, out = await asyncio.open_connection(host, int(port))
    await asyncio.gather(_passed(reader, out), _passed(there, writer))


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()
