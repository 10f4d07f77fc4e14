"""Carries out what ``lease.py`` decides: takes and renews a shard's lease, publishes while it is held, hands over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from loguru import logger

from exchanges.bus.client import WRONG_SEQUENCE, BusClient, BusError
from exchanges.bus.payloads import encode, read_object, status
from exchanges.bus.shards import ShardChoice
from exchanges.bus.subjects import MarketSubjects, text
from feed.sinks.bus.lease import RENEW, LeaseState
from feed.sinks.bus.publication import Publication
from feed.sinks.bus.writer import Fenced

LOOK = 0.05  # seconds between two checks whether to take the lease
ASKED = 0.2  # seconds that the holder of an overdue lease has to answer
NOBODY = 503  # the code of the answer if nobody has subscribed to the request's subject
HAND_OVER = 1.0  # the most seconds to wait at the end: for the next publisher, then until the last messages are stored
GONE = 3.0  # seconds of silence after which a shard of another layout (N in I/N) counts as ended


class Publisher:
    """Publishes one shard of one exchange, or stands by. ``details`` is this collector's report about itself."""

    def __init__(
        self,
        subjects: MarketSubjects,
        shard: ShardChoice,
        name: str,
        publication: Publication,
        timeframe: str,
        details: Callable[[], dict[str, Any]],
        is_lagging: Callable[[], bool],
    ) -> None:
        self._subjects = subjects
        self._shard = shard
        self._name = name
        self._publication = publication
        self._timeframe = timeframe
        self._details = details
        self._is_lagging = is_lagging
        self._lease = LeaseState(name)
        self._lease_subject = subjects.lease(shard.name)
        self._term_subject = subjects.publisher(shard.name)
        self._term = 0  # the number of the message with which this collector began to publish
        # other shard -> when its lease came, and the lease's content
        self._others: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._told_markets: dict[str, Any] | None = None  # the markets in the register
        self._handing_over = False
        self._waits_for = ""  # the shard of another layout that was reported
        self._now = time.monotonic

    def on_lease(self, subject: str, data: bytes, sequence: int, at: int, past: bool) -> None:
        """Note the lease of a shard of the exchange: the lease has changed, or is seen for the first time."""
        try:
            says = read_object(data)
        except ValueError:
            return
        shard = subject.rpartition(".")[2]
        if shard != self._shard.name:
            self._others[shard] = self._now(), says
            return
        self._lease.note(says, sequence, self._now())
        released = self._handing_over and not self._lease.holder
        if self._publication.live and not self._lease.mine and not released:
            self._stand_by(f"{self._lease.holder or 'nobody'} has the lease")

    def leases_read(self) -> None:
        """Call this when all leases on the bus have been read since ``begin``."""
        self._lease.read()

    @property
    def is_vacant(self) -> bool:
        """Whether nobody publishes the shard, as far as is known."""
        return self._lease.is_vacant(self._now())

    def begin(self) -> None:
        """Call this when the bus can be reached, for the first time or again."""
        self._lease.begin(self._now())
        self._told_markets = None

    async def run(self, client: BusClient) -> None:
        """Stand by or publish, in turn, over one connection to the bus. Raises BusError when it ends."""
        while True:
            if self._publication.live or self._lease.mine:
                await self._lead(client)
            gone = self._lease.is_overdue(self._now()) and await self._is_gone(client)
            data, lagging = self._publication.data, self._is_lagging()
            reason = self._lease.reason_to_take(data, self._now(), lagging=lagging, gone=gone)
            if reason and not self._handing_over and not self._is_other_layout():
                await self._take(client, reason)
            else:
                await asyncio.sleep(LOOK)

    async def _is_gone(self, client: BusClient) -> bool:
        """Whether the holder of the lease has no connection to the bus: then a request to it reaches nobody.

        A holder that is paused or cut off still has a connection. Its lease must expire first.
        """
        revision = self._lease.revision
        try:
            await client.request(self._subjects.alive(self._lease.holder), timeout=ASKED)
        except BusError as error:
            if client.closed.is_set():
                raise
            return error.code == NOBODY and self._lease.revision == revision
        return False

    def _is_other_layout(self) -> bool:
        """Whether a shard of another layout is published now: its coins may also belong to this shard."""
        now = self._now()
        for shard, (seen, says) in self._others.items():
            if not shard.endswith(f"-{self._shard.count}") and not says.get("released") and now - seen < GONE:
                if self._waits_for != shard:
                    self._waits_for = shard
                    other = shard.replace("-", "/")
                    logger.warning(
                        "{}: shard {} waits for shard {} to end", self._subjects.exchange, self._shard, other
                    )
                return True
        self._waits_for = ""
        return False

    async def _take(self, client: BusClient, reason: str) -> None:
        """Take the lease and, with it, the right to publish."""
        term = self._lease.says.get("term")
        self._term = term if isinstance(term, int) else 0
        says = self._said()
        try:
            revision = await client.put(self._lease_subject, says, self._lease.revision)
        except BusError as error:
            if error.code not in WRONG_SEQUENCE:
                raise
            await asyncio.sleep(LOOK)  # another collector has taken the lease first
            return
        self._lease.note(read_object(says), revision, self._now())
        logger.info("{}: this collector publishes from now on: {}", self._subjects.exchange, reason)
        self._publication.writer.clear()
        await self._announce(client, reason, [])
        if missed := await self._publication.go_on(client, self._timeframe):
            await self._announce(client, reason, missed)
        self._told_markets = None
        await self._publish(client)

    def _said(self, **more: object) -> bytes:
        """The content of the lease, with ``term``, so that the next holder need not ask for it."""
        return encode({**self._details(), "term": self._term, **more})

    async def _announce(self, client: BusClient, reason: str, missed: list[str]) -> None:
        """Write the message that makes the bus refuse the previous publisher, whose message has number ``_term``."""
        details = {
            "exchange": self._subjects.exchange,
            "at": time.time_ns() // 1_000_000,
            "collector": self._name,
            "shard": self._shard.name,
            "reason": reason,
            "missed": missed,
        }
        payload = status("collector", details)
        while True:
            try:
                self._term = await client.put(self._term_subject, payload, self._term)
                return
            except BusError as error:
                if error.code not in WRONG_SEQUENCE or not self._lease.mine:
                    raise
            self._term = await self._last_term(client)

    async def _last_term(self, client: BusClient) -> int:
        last = await client.last(self._subjects.stream, [self._term_subject])
        return last[0].sequence if last else 0

    async def _lead(self, client: BusClient) -> None:
        """Continue to publish with the lease that this collector has, over a new connection or with a new fence."""
        publication = self._publication
        term = await self._last_term(client)
        if not self._lease.mine or (term and term != self._term):
            self._stand_by(f"{self._lease.holder or 'another collector'} publishes")
            return
        if not term:  # the bus does not keep the message any more
            self._term = 0
            await self._announce(client, "it continues", [])
        if lost := publication.writer.lost_subjects:
            publication.writer.lost_subjects = set()
            coins = sorted({text(subject.rpartition(".")[2]) for subject in lost if ".trades." in subject})
            await self._announce(client, "the bus has not stored all that it was sent", coins)
        if publication.live:
            await publication.put_back(client)
        else:
            await publication.go_on(client, self._timeframe)
        await self._publish(client)

    async def _publish(self, client: BusClient) -> None:
        """Write, renew the lease and keep the record, each in a task of its own, so that none waits for another."""
        writer = self._publication.writer.run(client, self._term_subject, self._term)
        writing = asyncio.create_task(writer, name="bus writer")
        renewing = asyncio.create_task(self._keep_lease(client), name="bus lease")
        recording = asyncio.create_task(self._keep_record(client), name="bus record")
        tasks = (writing, renewing, recording)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._handing_over and renewing.done() and not writing.done():
                await asyncio.wait({writing})
            if writing.done():
                await self._ended(client, writing)
            for task in (renewing, recording):
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ended(self, client: BusClient, writing: asyncio.Task[None]) -> None:
        """Raise the writer's error, unless another collector publishes or the fence has expired."""
        try:
            writing.result()
        except Fenced:
            if await self._last_term(client):
                self._stand_by("another collector publishes")

    async def _keep_lease(self, client: BusClient) -> None:
        """Renew the lease for as long as this collector has it."""
        while self._lease.mine and not self._handing_over:
            await self._renew(client)
            await asyncio.sleep(RENEW)

    async def _keep_record(self, client: BusClient) -> None:
        """Keep the register and the record of closed candles up to date."""
        while True:
            await self._tell_markets(client)
            await self._publication.keep_closed(client)
            await asyncio.sleep(RENEW)

    async def _renew(self, client: BusClient) -> None:
        sent_at, says = self._now(), self._said()
        try:
            revision = await client.put(self._lease_subject, says, self._lease.revision)
        except BusError as error:
            if error.code not in WRONG_SEQUENCE:
                raise
            await asyncio.sleep(LOOK)  # the reader of the leases reports the holder
        else:
            self._lease.note(read_object(says), revision, sent_at)

    def _stand_by(self, reason: str) -> None:
        if self._publication.live:
            logger.warning("{}: this collector stands by: {}", self._subjects.exchange, reason)
        self._publication.stop()
        if self._lease.mine:
            self._lease.holder = ""

    async def _tell_markets(self, client: BusClient) -> None:
        """Write this shard's entry into the register, if it has changed."""
        content = self._publication.register(self._timeframe)
        if content != self._told_markets:
            await client.store(self._subjects.coins(self._shard.name), encode({**content, "collector": self._name}))
            self._told_markets = content

    async def hand_over(self, client: BusClient) -> None:
        """Release the lease, and publish until another collector publishes, but for HAND_OVER seconds at most.

        Then store what is still waiting. Raises BusError.
        """
        self._handing_over = True
        publication = self._publication
        if not publication.live:
            return
        await self._release(client)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER):
                while publication.live:  # noqa: ASYNC110 - once another publishes, the bus refuses what this one sends
                    await asyncio.sleep(LOOK)
        publication.live = False
        await publication.drained(HAND_OVER)

    async def _release(self, client: BusClient) -> None:
        for _ in range(5):  # a renewal may be under way
            try:
                await client.put(self._lease_subject, self._said(released=True), self._lease.revision)
                return
            except BusError as error:
                if error.code not in WRONG_SEQUENCE:
                    raise
                await asyncio.sleep(LOOK)
