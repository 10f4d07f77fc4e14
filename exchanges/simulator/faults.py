"""The faults of a venue, and how they are written: ``[venue:]kind[-argument]@start[+duration]``.

A new kind needs a row here, a context manager in ``active_faults.py``, and code for its effect in the module of its
subject (connections, trades, books, listings).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from exchanges.simulator.errors import SimulatorError

Argument = Literal["", "status", "code", "seconds", "share", "coin", "currency", "count", "side"]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault: its argument, whether it lasts, its effect, and the venue if only one venue has it."""

    argument: Argument
    lasts: bool
    meaning: str
    only: str = ""


KINDS: dict[str, FaultKind] = {
    "cut": FaultKind("", False, "every connection gets a TCP reset"),
    "close": FaultKind("code", False, "every connection is closed with that code; 1006 = without a close frame"),
    "shutdown-notice": FaultKind("", False, "every connection gets Binance's serverShutdown event", "binance"),
    "stall": FaultKind("", True, "connections stay open and pings are answered, but no data comes"),
    "mute": FaultKind("", True, "nothing is answered, not even pings"),
    "partition": FaultKind("", True, "every connection is cut and every new one reset"),
    "blocked": FaultKind("status", True, "upgrades and REST are answered with that status"),
    "refuse": FaultKind("status", True, "upgrades are answered with that status"),
    "accept-then-drop": FaultKind("", True, "upgrades are accepted and closed at once"),
    "rest-down": FaultKind("status", True, "REST is answered with 503 or that status"),
    "slow-rest": FaultKind("seconds", True, "REST answers come that much later"),
    "behind": FaultKind("seconds", True, "the stream is late by that much, with true stamps; REST is up to date"),
    "falling-behind": FaultKind(
        "seconds", True, "the stream falls behind by 0.5 s each second, until it is late by that much"
    ),
    "split": FaultKind("seconds", True, "every second connection is late by that much, the others are up to date"),
    "rest-behind": FaultKind("seconds", True, "what REST shows is that much older than the stream"),
    "rest-frozen": FaultKind("", True, "REST goes on showing what it showed when this began"),
    "halted": FaultKind("coin", True, "that coin, or all, is listed as in maintenance (BREAK) and does not trade"),
    "unlisted": FaultKind("coin", True, "that coin is not listed until this ends"),
    "quoted": FaultKind("currency", True, "every coin is listed only in that quote currency, at its price there"),
    "other-coin": FaultKind("coin", True, "another coin has that ticker, at a hundredth of the price"),
    "thousands": FaultKind("coin", True, "that coin is listed as a market of 1000 units, like 1000SHIB"),
    "malformed": FaultKind("share", True, "bad frames come between the good ones, as many as that share of them"),
    "silent": FaultKind("coin", True, "no data of that coin comes"),
    "tradeless": FaultKind(
        "coin", True, "trade subscriptions of that coin, or of all, are dropped without notice; tickers continue"
    ),
    "late": FaultKind("share", True, "that share of the trades comes 1 s late"),
    "doubled": FaultKind("share", True, "that share of the trades comes twice"),
    "missing": FaultKind("share", True, "that share of the trades does not come on the stream"),
    "repeated": FaultKind("share", True, "that share of the trades comes again 1,100 trades of the coin later"),
    "skipping": FaultKind("count", True, "one in that many trade ids belongs to no trade"),
    "leap": FaultKind("count", False, "on the stream, each coin's next trade has an id too high by that number"),
    "stamp-ahead": FaultKind(
        "seconds", False, "on the stream, each coin's next trade has a stamp that far in the future"
    ),
    "block-trades": FaultKind(
        "share", True, "a block trade follows that share of the trades, far from the price", "bybit"
    ),
    "late-close": FaultKind("seconds", True, "the last state of a candle comes that much after its end"),
    "lost-close": FaultKind("", True, "the last state of a candle does not come"),
    "book-lost": FaultKind("share", True, "that share of the order books' messages does not come"),
    "book-doubled": FaultKind("share", True, "that share of the order books' messages comes twice"),
    "book-late": FaultKind("share", True, "that share of the order books' messages comes 1 s late"),
    "book-reordered": FaultKind("share", True, "that share of the order books' messages comes after the next one"),
    "book-frozen": FaultKind("side", True, "nothing is sent about the books' bids or asks until this ends"),
    "book-crossed": FaultKind("", True, "the books' streams send a bid above the best ask"),
    "book-stale": FaultKind("seconds", True, "the books that REST shows are that old"),
    "book-refused": FaultKind("status", True, "requests for a book are answered with 503 or that status"),
    "book-restart": FaultKind("", False, "every book begins again with a snapshot of update id 1", "bybit"),
}
LISTING = ("halted", "unlisted", "quoted", "other-coin", "thousands")  # the kinds that change what is listed
RETRY_AFTER = 5.0  # seconds in the Retry-After of a refusal with 429 or 418
ALL = "ALL"  # written in place of a coin
_DEFAULTS = {"rest-down": "503", "book-refused": "503", "tradeless": ALL, "halted": ALL}
_EXAMPLES = {
    "status": "451", "code": "1008", "seconds": "2", "share": "0.1", "coin": "DOGE", "currency": "KRW", "count": "20",
    "side": "bids",
}  # fmt: skip

FaultArgument = float | int | str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a venue. What ``argument`` means depends on the kind (see KINDS).

    ``seconds`` is a second number that some kinds have: the delay of late trades, Retry-After, the growth of a lag, the
    upper end of a range. ``coin`` limits a fault of order books to one coin.
    """

    kind: str
    argument: FaultArgument = None
    seconds: float | None = None
    coin: str = ALL

    def __str__(self) -> str:
        return self.kind if self.argument is None else f"{self.kind}-{self.argument}"


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """A fault ``start`` seconds from now for ``duration`` seconds (None: for ever), of one venue (None: of all)."""

    fault: Fault
    start: float = 0.0
    duration: float | None = None
    venue: str | None = None


_SPEC = re.compile(r"(?:(?P<venue>[a-z_0-9]+):)?(?P<what>[^@+:]+)(?:@(?P<start>[^@+]+))?(?:\+(?P<duration>[^@+]+))?")


def allowed() -> str:
    """All faults as they are written, for messages and help texts."""
    return ", ".join(_spelled(name, kind) for name, kind in KINDS.items())


def _spelled(name: str, kind: FaultKind) -> str:
    if not kind.argument:
        return name
    return f"{name}[-{_DEFAULTS[name]}]" if name in _DEFAULTS else f"{name}-{_EXAMPLES[kind.argument]}"


def parse_fault(spec: str) -> ScheduledFault:
    """Read ``"stall@20+5"``, ``"bybit:blocked-451@30+10"``, ``"cut@10"``; without ``@start`` it starts now.

    Raises SimulatorError naming what was found and all that is allowed.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise SimulatorError(f"fault {spec!r} is not [venue:]kind[-argument]@start[+duration], e.g. stall@20+5")
    fault = _fault(spec, match["what"])
    start = _seconds(spec, "start", match["start"]) or 0.0
    duration = _seconds(spec, "duration", match["duration"])
    if duration is not None and not KINDS[fault.kind].lasts:
        raise SimulatorError(f"fault {spec!r}: {fault.kind} happens at once, it takes no duration")
    return ScheduledFault(fault, start, duration, match["venue"])


def _fault(spec: str, what: str) -> Fault:
    for name in sorted(KINDS, key=len, reverse=True):
        if what == name or what.startswith(name + "-"):
            argument = _argument(spec, name, what[len(name) + 1 :] or _DEFAULTS.get(name, ""))
            return Fault(name, argument, RETRY_AFTER if name == "refuse" and argument in (418, 429) else None)
    raise SimulatorError(f"fault {spec!r}: unknown kind {what!r}; allowed are {allowed()}")


def _argument(spec: str, name: str, text: str) -> FaultArgument:
    wanted = KINDS[name].argument
    if not wanted:
        if text:
            raise SimulatorError(f"fault {spec!r}: {name} takes no argument, found {text!r}")
        return None
    try:
        return _READERS[wanted](text)
    except ValueError as error:
        example = _spelled(name, KINDS[name])
        raise SimulatorError(f"fault {spec!r}: {error}, found {text!r}; write it like {example}") from None


def _seconds(spec: str, name: str, text: str | None) -> float | None:
    try:
        return None if text is None else _number(text, 0.0, 1e9, "seconds")
    except ValueError as error:
        raise SimulatorError(f"fault {spec!r}: {name}: {error}, found {text!r}") from None


def _number(text: str, least: float, most: float, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{what} must be a number from {least:g} to {most:g}") from None
    if not least <= number <= most:
        raise ValueError(f"{what} must be a number from {least:g} to {most:g}")
    return number


def _whole(text: str, least: int, most: int, what: str) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}")
    return int(text)


def _side(text: str) -> str:
    if text not in ("bids", "asks"):
        raise ValueError("the side must be bids or asks")
    return text


def _coin(text: str, what: str = "a coin") -> str:
    if not (text.isascii() and text.isalnum()):
        raise ValueError(f"{what} must be named by letters and digits")
    return text.upper()


_READERS: dict[str, Callable[[str], FaultArgument]] = {
    "status": lambda text: _whole(text, 400, 599, "the HTTP status"),
    "code": lambda text: _whole(text, 1000, 4999, "the close code"),
    "seconds": lambda text: _number(text, 0.0, 86_400.0, "seconds"),
    "count": lambda text: _whole(text, 2, 10**9, "the count"),
    "share": lambda text: _number(text, 0.0, 1.0, "the share"),
    "coin": _coin,
    "side": _side,
    "currency": lambda text: _coin(text, "a currency"),
}
