"""Runs a nats-server with JetStream on loopback, by default on port 4222; the server ends with this program."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import sys
import sysconfig
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from math import inf
from pathlib import Path

from loguru import logger

from feed.errors import FeedError
from feed.sinks.folder_lock import FolderLock

PORT = 4222  # NATS's default port
START = 10.0  # seconds that the server has to answer
STOP = 5.0  # seconds that the server has to end
PROGRAM = "nats-server"
GIGABYTES = 20.0
WARN_AGAIN = 60.0  # seconds until the same error of the server is reported again


def program() -> str | None:
    """Find the server's binary: beside this Python, where the extra installs it, or on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / (PROGRAM + (".exe" if sys.platform == "win32" else ""))
    return str(beside) if beside.is_file() else shutil.which(PROGRAM)


def state_folder() -> Path:
    """The platform's folder for what a program keeps between its runs."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "market-feed" / "bus"


class BusServer:
    """Runs a server in ``async with``. ``port`` 0: any free one; ``gigabytes``: how much it may store in ``folder``.

    Raises FeedError when the binary is missing, the port is taken, the folder cannot be used, or another bus has
    it.
    """

    def __init__(self, port: int = PORT, folder: Path | None = None, gigabytes: float = GIGABYTES) -> None:
        self.port = port
        self.folder = state_folder() if folder is None else folder
        self.gigabytes = gigabytes
        self.process: Process | None = None
        self._said: list[str] = []
        self._warned: dict[str, float] = {}  # kind of error -> when it was reported
        self._reading: asyncio.Task[None] | None = None
        self._lock: FolderLock | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> BusServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server, and return when it answers."""
        binary = program()
        if binary is None:
            raise FeedError("the bus needs nats-server: pip install 'market-feed[bus]'")
        try:
            self._lock = FolderLock(self.folder, "bus")  # nats-server takes no lock: two servers would damage the data
        except OSError as error:
            raise FeedError(f"the folder {self.folder} cannot be used: {error.strerror}") from None
        try:
            await self._run(binary, self._lock)
        except BaseException:
            await self.stop()
            raise

    async def _run(self, binary: str, lock: FolderLock) -> None:
        self.port = self.port or _free_port()
        config = self.folder / "nats-server.conf"
        config.write_text(
            f"host: 127.0.0.1\nport: {self.port}\nmax_payload: 4MB\nserver_name: market-feed-{self.port}\n"
            f'jetstream {{ store_dir: "{self.folder.as_posix()}", max_file_store: {int(self.gigabytes * 1e9)} }}\n',
            "utf-8",
        )
        self.process = await asyncio.create_subprocess_exec(
            binary,
            *("-c", str(config)),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,
            pass_fds=() if sys.platform == "win32" else (lock.number,),  # the server may outlive this program
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        self._reading = asyncio.create_task(self._read(), name="nats-server's log")
        try:
            async with asyncio.timeout(START):
                await self._answers()
        except TimeoutError:
            raise FeedError(f"nats-server did not answer within {START:g} s: {self._last_words()}") from None

    async def _answers(self) -> None:
        process = self.process
        assert process is not None
        while True:
            if process.returncode is not None:
                assert self._reading is not None
                await self._reading
                raise FeedError(f"nats-server ended at once: {self._last_words()}")
            with contextlib.suppress(OSError):
                _, opened = await asyncio.open_connection("127.0.0.1", self.port)
                opened.close()
                if any("Server is ready" in line for line in self._said):
                    return
            await asyncio.sleep(0.02)

    def _last_words(self) -> str:
        told = [line for line in self._said if "[ERR]" in line or "[FTL]" in line or "Error" in line] or self._said
        return " ".join(told[-1].split(" ", 3)[-1].split()) if told else "it printed nothing"

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            told = line.decode("utf-8", "replace").strip()
            self._said.append(told)
            if "[ERR]" in told:
                self._warn(told.partition("[ERR]")[2].strip())
            del self._said[:-50]

    def _warn(self, error: str) -> None:
        """Report an error of the server, such as a full disk; the same error at most once in WARN_AGAIN seconds."""
        now, kind = time.monotonic(), re.sub(r"'.*?'|[0-9]+", "", error)
        if now - self._warned.get(kind, -inf) > WARN_AGAIN:
            self._warned[kind] = now
            logger.warning("nats-server: {}", error)

    async def wait(self) -> str:
        """Return when the server has ended by itself; the result is its last output."""
        assert self.process is not None
        await self.process.wait()
        return self._last_words()

    async def stop(self) -> None:
        """End the server; it stores its data first."""
        try:
            await self._stop()
        finally:
            if self._lock is not None:
                self._lock.release()

    async def _stop(self) -> None:
        process = self.process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._reading is not None:
            await self._reading


def _end_with_parent() -> None:
    """In the child: ask the kernel to end it when this program ends for any reason (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
