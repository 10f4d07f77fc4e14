"""Reads subjects of a stream in order, each message once; reads lost messages again, and notices a silent server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exchanges.bus.client import BusClient, BusError

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

HEARTBEAT = 1.0  # seconds without a message, after which the server sends a heartbeat
SILENT = 3.0  # seconds without anything from the server, after which the reader counts as lost
IDLE = 10.0  # seconds after which the server drops a reader that has disconnected
NS = 1_000_000_000

OnMessage = Callable[[str, bytes, int, int, bool], None]
"""Takes a message's subject, payload and sequence, when the server stored it (Unix ns), and whether it was stored
before the reader began."""


@dataclass(eq=False, repr=False)
class StreamReader:
    """One ordered consumer. If messages are lost on the way, it reads again from the first lost message.

    ``sequence`` is that of the last message that was read. ``on_caught_up`` is called when all messages from before the
    start are read.
    """

    client: BusClient
    stream: str
    subjects: Sequence[str]
    on_message: OnMessage
    on_caught_up: Callable[[], None]

    def __post_init__(self) -> None:
        self.sequence = 0
        self._subscription: Subscription | None = None
        self._delivered = 0  # number of messages delivered by the consumer
        self._past = 0  # number of messages from before the start; -1 until the server has answered
        self._heard = 0.0
        self._torn = asyncio.Event()  # set when messages were lost
        self._now = asyncio.get_running_loop().time

    async def begin(self, after: int | None = None) -> str:
        """Begin with the last message of each subject, or after the sequence ``after``. Raises BusError.

        Returns the time when the stream was made, as the server's text.
        """
        stream = await self.client.api(f"STREAM.INFO.{self.stream}")
        self.sequence = int(stream["state"]["last_seq"]) if after is None else after
        await self._consume(after)
        return str(stream["created"])

    async def _consume(self, after: int | None) -> None:
        client = self.client
        if self._subscription is not None:
            await client.unsubscribe(self._subscription)
        inbox = client.nats.new_inbox()
        self._delivered, self._past = 0, -1
        self._torn.clear()
        early: list[Msg] = []  # messages that come before the server has answered how many are waiting

        async def take(message: Msg) -> None:
            if self._past < 0:
                early.append(message)
            else:
                self._take(message)

        self._subscription = await client.subscribe(inbox, take)
        start: dict[str, Any] = (
            {"deliver_policy": "last_per_subject"}
            if after is None
            else {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        )
        config = {
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT * NS),
            "inactive_threshold": int(IDLE * NS),
            "filter_subjects": list(self.subjects),
            **start,
        }
        made = await client.api(f"CONSUMER.CREATE.{self.stream}", {"stream_name": self.stream, "config": config})
        # messages that were delivered before this answer count too
        pending = int(made["num_pending"]) + int(made["delivered"]["consumer_seq"])
        self._heard, self._past = self._now(), pending
        for message in early:
            self._take(message)
        if not pending:
            self.on_caught_up()

    def _take(self, message: Msg) -> None:
        self._heard = self._now()
        reply = message.reply
        if not reply.startswith("$JS.ACK."):
            self._control(message)
            return
        parts = reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>,
        # or with two more parts, domain and account, after ACK
        first = 5 if len(parts) == 9 else 7
        sequence, count, at = int(parts[first]), int(parts[first + 1]), int(parts[first + 2])
        if count != self._delivered + 1:
            if count > self._delivered + 1:
                self._torn.set()
            return
        self._delivered, self.sequence = count, max(sequence, self.sequence)
        past = count <= self._past
        self.on_message(message.subject, message.data, sequence, at, past)
        if count == self._past:
            self.on_caught_up()

    def _control(self, message: Msg) -> None:
        """Handle a heartbeat, or a flow control request."""
        headers = message.headers or {}
        reply = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if reply:
            publishing = asyncio.ensure_future(self.client.nats.publish(reply))
            # the error is retrieved, otherwise asyncio warns
            publishing.add_done_callback(lambda task: task.cancelled() or task.exception())
        told = headers.get("Nats-Last-Consumer")
        if told is not None and int(told) > self._delivered:
            self._torn.set()

    async def run(self) -> None:
        """Watch the reader until it ends: raises BusUnreachable if the connection has ended, BusError otherwise."""
        while True:
            try:
                await self.client.until(self._torn, SILENT / 3)
                await self._consume(self.sequence)
            except TimeoutError:
                if self._now() - self._heard > SILENT:
                    raise BusError(f"the bus {self.client.shown} has sent nothing for {SILENT:g} s") from None
