"""The thread that writes stdout keeps the order, drops nothing and does not wait for ever."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from feed.cli.screen.stdout_writer import StdoutWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:  # the test has closed the descriptor
            continue


def never() -> bool:
    return False


async def test_everything_arrives_in_order_even_if_the_reader_is_slow(pipe: tuple[int, int]) -> None:
    outlet = StdoutWriter(pipe[1], lambda: None, never, waiting=1000)
    wanted = [b"%06d" % number for number in range(50_000)]

    def read() -> bytes:
        chunks = []
        while chunk := os.read(pipe[0], 777):
            chunks.append(chunk)
        return b"".join(chunks)

    reading = asyncio.create_task(asyncio.to_thread(read))
    for start in range(0, len(wanted), 100):
        for line in wanted[start : start + 100]:
            outlet.write(line)
        await asyncio.sleep(0)
    outlet.close()
    os.close(pipe[1])
    async with asyncio.timeout(30):
        assert (await reading).splitlines() == wanted


async def test_each_line_is_written_at_once(pipe: tuple[int, int]) -> None:
    outlet = StdoutWriter(pipe[1], lambda: None, never)
    outlet.write(b"now")
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(os.read, pipe[0], 100) == b"now\n"
    outlet.close()


async def test_the_writer_notices_that_the_reader_is_gone_and_never_waits_for_it(pipe: tuple[int, int]) -> None:
    gone = asyncio.Event()
    outlet = StdoutWriter(pipe[1], gone.set, never, waiting=10)
    os.close(pipe[0])
    async with asyncio.timeout(10):
        while not gone.is_set():
            outlet.write(b"x" * 100)
            await asyncio.sleep(0)
    for _ in range(100):
        outlet.write(b"x" * 100)
        outlet.flush()
    outlet.close()


async def test_giving_up_ends_the_wait_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    over = False
    outlet = StdoutWriter(pipe[1], lambda: None, lambda: over, waiting=10)
    outlet.write(b"x" * 1_000_000)
    outlet.flush()
    over = True
    for _ in range(3):
        outlet.write(b"y" * 100)
        outlet.flush()
    outlet.close()
    os.close(pipe[0])
    outlet._thread.join(10)  # otherwise the thread might write to another file with the descriptor's number


async def test_after_a_signal_a_reader_that_still_reads_gets_everything(pipe: tuple[int, int]) -> None:
    outlet = StdoutWriter(pipe[1], lambda: None, lambda: True)
    outlet.write(b"x" * 1_000_000)

    def read() -> int:
        return sum(iter(lambda: len(os.read(pipe[0], 4096)), 0))

    reading = asyncio.create_task(asyncio.to_thread(read))
    outlet.close()
    os.close(pipe[1])
    async with asyncio.timeout(30):
        assert await reading == 1_000_001
