"""Finds which subscription a venue has rejected, if ccxt does not tell the caller; lets ccxt send it again later."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from typing import Any

asking: ContextVar[Hashable] = ContextVar("asking", default=None)
"""The running watch call: requests and notes that ccxt makes in this context, or in its tasks, belong to it."""

REQUESTS = 10_000  # the most requests whose numbers are remembered: pings are numbered too, and come for weeks
_IDS = ("id", "req_id", "reqid")  # how the venues name a request's number


class _Subscriptions(dict[Any, Any]):
    """A client's ``subscriptions``, in which ccxt notes its requests; ``notes`` gets each note and the running call."""

    __slots__ = ("_notes",)

    def __init__(self, noted: dict[Any, Any], notes: list[_Note]) -> None:
        super().__init__(noted)
        self._notes = notes

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._notes.append((self, key, asking.get()))


_Note = tuple[dict[Any, Any], Any, Hashable]  # the dict, the key, and the call


class RejectionTracker:
    """Remembers which call has sent which request, and under which keys ccxt has noted the requests."""

    def __init__(self) -> None:
        self._askers: dict[str, Hashable] = {}
        self._noted: list[_Note] = []
        self._open: dict[Hashable, bool] = {}  # whether a call's request is still without an answer
        self.unnamed: list[str] = []  # reasons of rejections whose calls are not known yet

    def keep(self, client: Any) -> None:
        """Track the requests of a new ``client``."""
        send = client.send

        async def noted(message: Any) -> Any:
            if isinstance(message, dict) and asking.get() is not None:
                self._open.setdefault(asking.get(), True)
                self._askers.update({str(message[key]): asking.get() for key in _IDS if key in message})
                while len(self._askers) > REQUESTS:
                    del self._askers[next(iter(self._askers))]
            return await send(message)

        client.subscriptions = _Subscriptions(client.subscriptions, self._noted)
        client.send = noted

    def clear(self) -> None:
        """Forget everything: the connection has ended."""
        self._askers.clear()
        self._noted.clear()
        self._open.clear()
        self.unnamed.clear()

    def asker(self, frame: Any) -> Hashable:
        """The call that sent the request with the frame's number; None if that is not known."""
        if not isinstance(frame, dict):
            return None
        return next((call for key in _IDS if (call := self._askers.get(str(frame.get(key)))) is not None), None)

    def blamed(self, answered: Callable[[Any], bool]) -> dict[Any, str]:
        """The calls whose rejections did not name them, with the reasons; none as long as they are not known.

        A venue answers every request once. So the calls are known when the number of requests without an answer is not
        larger than the number of unnamed rejections.
        """
        self._open = {call: still and not answered(call) for call, still in self._open.items()}
        waiting = [call for call, still in self._open.items() if still]
        if len(waiting) > len(self.unnamed):
            return {}
        blamed = dict(zip(waiting, self.unnamed, strict=False))
        self.unnamed.clear()
        return blamed

    def forget(self, call: Hashable) -> None:
        """Call this when the venue has refused a call's request: its markets may be requested again."""
        self._open.pop(call, None)
        for subscriptions, key, owner in self._noted:
            if owner == call:
                subscriptions.pop(key, None)
        self._noted[:] = [note for note in self._noted if note[2] != call]


def names(frame: Any, words: Iterable[Any]) -> bool:
    """Whether a frame names one of ``words``: a market by its id or its symbol."""
    text = str(frame)
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in words if isinstance(word, str))
