"""Sends messages to the bus in order, each once, until another collector publishes the shard; limits how many wait.

Every message names the message that it expects to be the last one of the shard's ``publisher`` subject. A collector
that takes over writes a new message to that subject first. From then on, the bus refuses everything that the previous
collector still sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from exchanges.bus.client import WRONG_SEQUENCE, BusClient, BusError, BusUnreachable
from exchanges.bus.payloads import read_object

if TYPE_CHECKING:
    from nats.aio.msg import Msg

WINDOW = 4_000  # messages that may wait for the bus's answer
MOST = 200_000  # messages that wait while the bus cannot be reached; then the oldest are dropped
TURN = 200  # messages that are sent before other tasks get their turn
UNANSWERED = 3.0  # seconds without an answer after which the connection is given up


class Fenced(Exception):
    """Another collector publishes the shard now."""


class _Message(NamedTuple):
    subject: str
    payload: bytes
    id: str


class BusWriter:
    """A queue of messages that outlives connections: a message without an answer is sent again, and stored only once.

    ``published`` counts messages that the bus has stored, ``lost`` messages that it will never store.
    """

    def __init__(self) -> None:
        self.published = 0
        self.lost = 0
        self.lost_subjects: set[str] = set()
        """The subjects of the messages that were lost since the caller last cleared this set."""
        self._queue: deque[_Message] = deque()
        self._sent: dict[int, _Message] = {}  # messages without an answer yet, by number
        self._number = 0
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._answered_at = 0.0
        self._full = False
        self._failure: BusError | None = None
        self._fenced = False
        self._passed: dict[str, int] = {}  # after a failure: subject -> number of the newest message stored

    @property
    def waiting(self) -> int:
        """Messages that the bus has not stored yet."""
        return len(self._queue) + len(self._sent)

    def put(self, subject: str, payload: bytes, id: str) -> None:
        """Publish this after everything that was put before. The bus stores only one message with the same ``id``."""
        self._queue.append(_Message(subject, payload, id))
        if len(self._queue) > MOST:
            self._lose(self._queue.popleft())
        if not self._wake.is_set():
            self._wake.set()

    def rewind(self) -> set[str]:
        """After the connection's end: send unanswered messages again. Returns the ids of all waiting messages."""
        self._again()
        return {message.id for message in self._queue}

    def put_first(self, messages: Sequence[tuple[str, bytes, str]]) -> None:
        """Publish these messages (subject, payload, id) before all waiting messages."""
        self._queue.extendleft(_Message(*message) for message in reversed(messages))
        self._wake.set()

    def clear(self) -> None:
        """Drop all waiting messages: another collector publishes."""
        self._queue.clear()
        self._sent.clear()
        self._passed.clear()
        self._answered.set()

    def _lose(self, message: _Message) -> None:
        self.lost += 1
        self.lost_subjects.add(message.subject)

    async def drained(self) -> None:
        """Return when everything is stored."""
        while self.waiting:
            self._answered.clear()
            await self._answered.wait()

    async def run(self, client: BusClient, publisher: str, fence: int) -> None:
        """Send all waiting and new messages; each expects message ``fence`` to be the last one of subject
        ``publisher``.

        Runs until the connection ends (BusUnreachable), the bus refuses to store (BusError), or another collector has
        begun to publish (Fenced).
        """
        self._again()
        self._fenced, self._failure = False, None
        nats, inbox = client.nats, client.nats.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*", self._on_answer)
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(fence),
            "Nats-Expected-Last-Subject-Sequence-Subject": publisher,
        }
        self._answered_at = asyncio.get_running_loop().time()
        watching = asyncio.create_task(self._watch(client), name="bus answers")
        watching.add_done_callback(lambda _: self._wake.set())
        queue, sent = self._queue, self._sent
        try:
            while True:
                turn = 0
                while queue and len(sent) < WINDOW and not self._stopped(watching):
                    message = queue.popleft()
                    self._number += 1
                    sent[self._number] = message
                    reply = f"{inbox}.{self._number}"
                    await nats.publish(message.subject, message.payload, reply, {"Nats-Msg-Id": message.id, **headers})
                    turn += 1
                    if turn >= TURN:
                        turn = 0
                        await asyncio.sleep(0)
                if self._stopped(watching):
                    break
                self._wake.clear()
                self._full = bool(queue)  # the window is full: the next answer makes room
                await self._wake.wait()
        except Exception as error:
            if isinstance(error, BusError):
                raise
            raise client.ended from None  # nats-py, over a connection that is closed
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await client.unsubscribe(subscription)
        if self._fenced:
            raise Fenced
        raise self._failure or client.ended

    def _stopped(self, watching: asyncio.Task[None]) -> bool:
        return self._fenced or self._failure is not None or watching.done()

    async def _watch(self, client: BusClient) -> None:
        """Return when the connection has ended, no answer comes, or an answer ends the run."""
        loop = asyncio.get_running_loop()
        while not client.closed.is_set() and not self._fenced:
            if self._failure is not None:
                await asyncio.sleep(UNANSWERED / 10)  # wait for the answers to later messages
                return
            if not self._sent:
                self._answered_at = loop.time()
            elif loop.time() - self._answered_at > UNANSWERED:
                self._failure = BusUnreachable(f"the bus {client.shown} has answered nothing for {UNANSWERED:g} s")
                return
            await asyncio.sleep(0.05)

    def _again(self) -> None:
        """Put unanswered messages back before the waiting ones, except those that must not be sent any more.

        A message must not be sent again if the bus refused it and stored a later message of the same subject: it would
        come out of order.
        """
        back: list[_Message] = []
        for number, message in self._sent.items():
            if number < self._passed.get(message.subject, 0):
                self._lose(message)
            else:
                back.append(message)
        self._sent.clear()
        self._passed.clear()
        self._queue.extendleft(reversed(back))

    async def _on_answer(self, answer: Msg) -> None:
        number = int(answer.subject.rpartition(".")[2])
        if b'"error"' in answer.data:
            self._refused(answer.data)
            return
        message = self._sent.pop(number, None)
        if message is None:
            return
        self.published += 1
        self._answered_at = asyncio.get_running_loop().time()
        if self._failure is not None:
            self._passed[message.subject] = number
        if not self._sent and not self._answered.is_set():
            self._answered.set()
        if self._full:
            self._full = False
            self._wake.set()

    def _refused(self, data: bytes) -> None:
        error = read_object(data).get("error") or {}
        code = int(error.get("err_code") or 0)
        if code in WRONG_SEQUENCE:
            self._fenced = True
        elif self._failure is None:
            self._failure = BusError(f"the bus does not store: {error.get('description')}", code)
        self._wake.set()
        self._answered.set()
