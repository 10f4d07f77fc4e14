"""A wrong file in SSL_CERT_FILE or SSL_CERT_DIR is named in an error, and nothing waits for the writer of a pipe."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exchanges.ccxt_adapter.transport.certificates import problems, trust_the_systems
from exchanges.simulator import Simulator
from tests.exchanges.support import opened, served
from tests.support import until

LONG = 60.0  # seconds; a process that waits for a pipe's writer never ends
PEM = "allowed is a file of certificates in PEM form"
FOLDERS = "allowed are folders of PEM files (.pem, .crt or .cer), with ':' between them"
BAD_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "is not there"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "pipe": (os.mkfifo, "is a pipe"),
    "device": (lambda path: path.symlink_to("/dev/tty"), "is a device"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("hello"), "has no certificate that can be read"),
    "bytes": (lambda path: path.write_bytes(bytes(range(256)) * 20), "has no certificate that can be read"),
    "damaged": (lambda path: path.write_text(BAD_PEM), "has no certificate that can be read"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be read (Too many levels of symbolic links)"),
    "failing disk": (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read (Input/output error)"),
}
FILES = [kind for kind in WRONG if kind not in ("missing", "link to itself")]  # these two create no file


@pytest.mark.skipif(sys.platform != "linux", reason="some of these files exist only on Linux")
@pytest.mark.parametrize("kind", WRONG)
def test_the_error_says_what_is_wrong_with_the_file_in_a_variable(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = WRONG[kind]
    make(path := tmp_path / "named")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    (line,) = problems()
    assert line.startswith(f"SSL_CERT_FILE names '{path}', which {words}")
    assert line.endswith(PEM)
    if kind == "folder":
        return
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", str(path))
    (line,) = problems()
    assert line.startswith(f"SSL_CERT_DIR names '{path}', which ")
    assert line.endswith(FOLDERS)


def fill(folder: Path, name: str, make: Callable[[Path], object], certificate: Path) -> None:
    """Put a wrong file beside the certificate; in ``name``, "hash" stands for the hash by which OpenSSL looks for
    files."""
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    try:
        subject = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip("needs the program openssl")
    make(folder / name.replace("hash", subject))
    (folder / ("good.pem" if name == "company.crt" else f"{subject}.1")).write_bytes(certificate.read_bytes())


@pytest.mark.skipif(sys.platform != "linux", reason="some of these files exist only on Linux")
@pytest.mark.parametrize(
    ("name", "kind"), [*(("company.crt", kind) for kind in FILES), ("hash.0", "pipe"), ("hash.0", "device")]
)
async def test_a_wrong_file_in_a_folder_is_reported_and_the_other_certificates_are_used(
    kind: str, name: str, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe with a name that OpenSSL looks for would block the handshake, and with it the event loop."""
    make, words = WRONG[kind]
    fill(tmp_path, name, make, certificate)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    assert [line for line in problems() if words in line and "of SSL_CERT_DIR" in line]
    async with served(tls=tls) as at, opened("binance", at, rest_url=f"https://{at}") as venue:
        with pytest.raises(Exception, match="404"):  # the server's own answer: its certificate is accepted
            await venue.load()


PROGRAMS = {
    "feed": "import feed, exchanges.ccxt_adapter.instance",
    "all of ccxt": "import os; os.environ['MARKET_FEED_CCXT'] = 'whole'; import exchanges.ccxt_adapter.venue",
    "simulator": "import exchanges.simulator",
    "server": "import feed.sinks.server.app",
    "fixtures": "import feed.pytest_plugin, exchanges.simulator",
    "the program's own aiohttp": (
        "import exchanges, aiohttp, aiohttp.connector as c; print(c._SSL_CONTEXT_VERIFIED.cert_store_stats())"
    ),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_pipe_does_not_block_the_import(program: str, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    environment = {**os.environ, "SSL_CERT_FILE": str(pipe)}
    subprocess.run([sys.executable, "-c", PROGRAMS[program]], env=environment, timeout=LONG, check=True)


def test_a_pipe_in_the_variable_is_not_read_and_a_file_of_certificates_is_read(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe in SSL_CERT_FILE is treated like a file that OpenSSL cannot read: only the system's folder is trusted."""
    os.mkfifo(pipe := tmp_path / "pipe")
    monkeypatch.setenv("SSL_CERT_FILE", str(pipe))
    trust_the_systems(context := ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert context.cert_store_stats()["x509"] == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trust_the_systems(context)
    assert context.cert_store_stats()["x509"] == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
async def test_a_feed_runs_even_if_the_variable_names_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``include_OS_certificates`` OpenSSL reads the same variable."""
    os.mkfifo(pipe := tmp_path / "pipe")
    monkeypatch.setenv("SSL_CERT_FILE", str(pipe))
    options = {"include_OS_certificates": True}
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        opened("binance", simulator, options=options) as venue,
    ):
        await venue.load()
        await until(lambda: venue.market("BTC") == "BTC/USDT")
