"""The faults of a soak of order books, drawn from its seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from exchanges.simulator import ScheduledFault, parse_fault

QUIET_START = 6.0  # seconds until the first fault
MEAN_PAUSE = 6.0  # mean seconds between two faults
LEAP = "leap of the price"
COINS = ("BTC", "ETH", "DOGE", "INJ")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: ``specs`` begin together; {} stands for one of ``choices``; faults with a duration end with
    +."""

    weight: int
    specs: tuple[str, ...]
    lasts: tuple[float, float] = (0.0, 0.0)
    choices: tuple[object, ...] = ()
    only: str = ""


KINDS = (
    Kind(8, ("book-lost-{}+",), (0.3, 6.0), (0.05, 0.3, 1.0)),
    Kind(4, ("book-doubled-{}+",), (1.0, 10.0), (0.1, 1.0)),
    Kind(5, ("book-late-{}+",), (0.5, 6.0), (0.05, 0.5)),
    Kind(6, ("book-reordered-{}+",), (0.5, 6.0), (0.1, 0.5, 1.0)),
    Kind(6, ("book-frozen-{}+",), (2.0, 10.0), ("bids", "asks")),
    Kind(5, ("book-crossed+",), (0.5, 6.0)),
    Kind(3, ("book-stale-{}+", "book-lost-0.3+"), (1.0, 6.0), (0.5, 2, 10)),
    Kind(3, ("book-stale-{}+", "cut"), (1.0, 6.0), (0.5, 2, 10)),
    Kind(3, ("book-refused-{}+", "cut"), (1.0, 8.0), (429, 503)),
    Kind(3, ("book-refused-{}+", "book-lost-0.3+"), (1.0, 8.0), (429, 503)),
    Kind(4, ("book-restart",), only="bybit"),
    Kind(6, ("cut",)),
    Kind(3, ("close-{}",), choices=(1000, 1001, 1006, 1008)),
    Kind(3, ("stall+",), (0.5, 8.0)),
    Kind(3, ("partition+",), (0.5, 6.0)),
    Kind(3, ("malformed-{}+",), (1.0, 6.0), (0.1, 0.5)),
    Kind(3, ("behind-{}+",), (2.0, 8.0), (0.5, 2)),
    Kind(3, ("slow-rest-{}+", "cut"), (3.0, 8.0), (0.3, 0.8, 2)),
    Kind(3, ("rest-down-{}+", "cut"), (1.0, 6.0), (503, 500)),
    Kind(3, ("rest-behind-{}+", "cut"), (2.0, 8.0), (0.3, 2)),
    Kind(3, ("silent-{}+",), (1.0, 8.0), COINS),
    Kind(6, (LEAP,), choices=COINS),
)


@dataclass(frozen=True, slots=True)
class Strike:
    """At ``at`` seconds after the start: a fault of a venue, or a jump of the price of ``coin`` by ``factor``."""

    at: float
    venue: str
    fault: ScheduledFault | None
    coin: str = ""
    factor: float = 1.0

    def __str__(self) -> str:
        if self.fault is None:
            return f"{self.venue}: {self.coin} leaps by {self.factor:.4f}"
        lasts = "" if self.fault.duration is None else f"+{self.fault.duration:.1f}"
        return f"{self.venue}:{self.fault.fault}{lasts}"


def draw(seed: int, venue: str, family: str, mean_pause: float = MEAN_PAUSE) -> Iterator[Strike]:
    """An endless sequence of faults of one venue, in the order of their times."""
    dice = Random(f"{seed} {venue} books")
    kinds = [kind for kind in KINDS if kind.only in ("", family)]
    now = QUIET_START
    while True:
        kind = dice.choices(kinds, [kind.weight for kind in kinds])[0]
        duration, chosen = dice.uniform(*kind.lasts), dice.choice(kind.choices) if kind.choices else ""
        for spec in kind.specs:
            if spec == LEAP:
                yield Strike(now, venue, None, str(chosen), dice.choice((0.97, 0.995, 1.005, 1.03)))
                continue
            text = spec.format(chosen)
            fault = parse_fault(f"{text}{duration:.2f}" if text.endswith("+") else text)
            yield Strike(now, venue, ScheduledFault(fault.fault, 0.0, fault.duration, venue))
        now += dice.expovariate(1 / mean_pause) + (duration if dice.random() < 0.7 else 0.0)
