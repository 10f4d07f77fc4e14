"""Whose request a venue has refused, where ccxt tells nobody, or asks for nothing again once it has asked."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from contextvars import ContextVar
from typing import Any

asking: ContextVar[Hashable] = ContextVar("asking", default=None)
"""The call under way: what ccxt sends and notes for it, also in tasks of its own, is the call's."""

_IDS = ("id", "req_id", "reqid")  # how the venues name a request's number


class Ledger:
    """Keeps which call has sent which request, and under which keys ccxt has noted that it need not be sent again."""

    def __init__(self) -> None:
        self._askers: dict[str, Hashable] = {}
        self._noted: list[tuple[dict[Any, Any], Any, Hashable]] = []

    def keep(self, client: Any) -> None:
        """Keep the books of ``client``, a new one."""
        send, ledger = client.send, self

        class Subscriptions(dict[Any, Any]):
            def __setitem__(self, key: Any, value: Any) -> None:
                super().__setitem__(key, value)
                ledger._noted.append((self, key, asking.get()))

        async def noted(message: Any) -> Any:
            if isinstance(message, dict) and asking.get() is not None:
                ledger._askers.update({str(message[key]): asking.get() for key in _IDS if key in message})
            return await send(message)

        client.subscriptions = Subscriptions(client.subscriptions)
        client.send = noted

    def asker(self, frame: Any) -> Hashable:
        """The call that sent the request whose number a frame has; None where that is not known."""
        if not isinstance(frame, dict):
            return None
        return next((call for key in _IDS if (call := self._askers.get(str(frame.get(key)))) is not None), None)

    def forget(self, call: Hashable) -> None:
        """The venue has refused a call's request: its markets may be asked for again."""
        kept = []
        for subscriptions, key, owner in self._noted:
            if owner == call:
                subscriptions.pop(key, None)
            else:
                kept.append((subscriptions, key, owner))
        self._noted = kept


def names(frame: Any, words: Iterable[Any]) -> bool:
    """Whether a frame names one of ``words``: a market by its id or its symbol."""
    text = str(frame)
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in words if isinstance(word, str))
