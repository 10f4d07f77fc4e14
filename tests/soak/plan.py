"""The faults of a soak, drawn from its seed alone: the same seed gives the same faults at the same times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from exchanges.simulator import ScheduledFault, parse_fault

MEAN_PAUSE = 7.0  # seconds between two draws
QUIET_START = 5.0  # seconds until the first fault
BLOCK_PAUSE = 650.0  # seconds: the feed avoids a blocked venue for 600 s, and two other venues must remain
# seconds: the feed reports a silence of this length; without consecutive ids, only a silence shows missing trades
LONG_ENOUGH = 7.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. Each draw of it causes the faults of all its ``specs``.

    If a spec ends with +, the fault gets a duration between the two numbers of ``lasts`` (seconds).

    ``counted``: only venues with consecutive trade ids have this fault. On other venues nobody can know that a trade is
    missing while other data comes.
    """

    weight: int
    specs: tuple[str, ...]
    lasts: tuple[float, float] = (0.0, 0.0)
    counted: bool = False
    choices: tuple[object, ...] = ()  # values for {}, the same in all specs of a draw
    everywhere: bool = False
    first: bool = False  # True: only for the first venue
    only: str = ""  # the only venue that has this fault
    repeat: int = 1  # one draw causes the fault 1 to this many times, within a few seconds


SKIPS = "binance_us"  # this venue skips ids at some time; after that, a missing trade of this venue cannot be noticed
COINS = ("BTC", "ETH", "DOGE", "INJ", "LTC")

KINDS: tuple[Kind, ...] = (
    Kind(7, ("cut",)),
    Kind(5, ("cut",), repeat=8),  # later cuts may come while the feed connects, subscribes, waits or fails over
    Kind(8, ("close-{}",), choices=(1000, 1001, 1006, 1008, 1011, 1012)),
    Kind(4, ("shutdown-notice",), only="binance"),
    Kind(3, ("shutdown-notice", "cut@{}"), only="binance", choices=(0.05, 0.3, 1.0, 2.5)),
    Kind(8, ("stall+",), (1.0, 30.0)),
    Kind(6, ("mute+",), (1.0, 30.0)),
    Kind(7, ("partition+",), (1.0, 40.0)),
    Kind(1, ("blocked-{}+", "cut"), (2.0, 30.0), choices=(451, 403)),
    Kind(5, ("refuse-{}+", "cut"), (1.0, 25.0), choices=(429, 503, 418, 502)),
    Kind(5, ("accept-then-drop+", "cut"), (1.0, 25.0)),
    Kind(3, ("rest-down-{}+",), (2.0, 60.0), choices=(503, 429)),
    Kind(4, ("rest-down-{}+", "cut"), (1.0, 20.0), choices=(503, 500)),
    Kind(4, ("slow-rest-{}+", "cut"), (1.0, 30.0), choices=(0.3, 1.0, 1.9, 2.5, 5.0)),
    Kind(5, ("malformed-{}+",), (2.0, 40.0), choices=(0.05, 0.3, 1.0)),
    Kind(5, ("late-{}+",), (2.0, 30.0), counted=True, choices=(0.02, 0.2, 0.8)),
    Kind(5, ("doubled-{}+",), (2.0, 60.0), choices=(0.05, 0.5, 1.0)),
    Kind(5, ("missing-{}+",), (2.0, 30.0), counted=True, choices=(0.02, 0.2, 0.6)),
    Kind(3, ("missing-{}+", "late-{}+", "doubled-{}+", "cut@1"), (3.0, 15.0), counted=True, choices=(0.05, 0.3)),
    Kind(4, ("silent-{}+",), (3.0, 100.0), counted=True, choices=COINS),
    # a failover, and a failback as soon as the venue works again
    Kind(20, ("refuse-503+", "cut"), (1.0, 3.0), first=True),
    Kind(6, ("falling-behind-{}+",), (8.0, 40.0), choices=(8, 20, 60)),
    Kind(4, ("behind-{}+",), (3.0, 30.0), choices=(0.5, 3, 8, 15)),
    Kind(3, ("behind-{}+", "cut@{}"), (8.0, 30.0), choices=(3, 8)),  # a new connection to a late stream
    Kind(3, ("split-{}+",), (5.0, 40.0), choices=(3, 10, 30)),
    Kind(3, ("split-{}+", "cut@1"), (5.0, 40.0), choices=(3, 10, 30)),
    Kind(4, ("rest-behind-{}+",), (5.0, 60.0), choices=(0.3, 0.7, 1.2, 2)),
    Kind(5, ("rest-behind-{}+", "cut"), (3.0, 20.0), choices=(0.3, 0.7, 1.2, 2)),
    Kind(4, ("rest-behind-{}+", "missing-0.1+"), (3.0, 20.0), counted=True, choices=(0.3, 0.7, 1.2, 2)),
    Kind(2, ("rest-frozen+",), (3.0, 40.0)),
    Kind(3, ("rest-frozen+", "cut"), (3.0, 20.0)),
    Kind(4, ("skipping-{}+",), (20.0, 120.0), choices=(5, 20, 100), only=SKIPS),
    Kind(3, ("leap-{}",), choices=(40_000, 999_000)),
    Kind(2, ("stamp-ahead-{}",), choices=(3600, 82_800)),
    Kind(3, ("halted+",), (5.0, 40.0)),
    Kind(2, ("halted+", "cut"), (5.0, 40.0)),
    Kind(3, ("halted-{}+", "cut"), (5.0, 60.0), choices=COINS),
    Kind(3, ("unlisted-{}+", "cut"), (5.0, 60.0), choices=COINS),
    Kind(3, ("quoted-{}+", "cut"), (5.0, 40.0), choices=("KRW", "USDC")),
    Kind(3, ("block-trades-{}+",), (5.0, 60.0), choices=(0.02, 0.2), only="bybit"),
    Kind(2, ("repeated-{}+",), (60.0, 120.0), choices=(0.02, 0.2)),
    Kind(2, ("late-close-{}+",), (60.0, 120.0), choices=(1, 5, 20)),
    Kind(2, ("lost-close+",), (60.0, 120.0)),
    Kind(2, ("partition+",), (1.0, 25.0), everywhere=True),
    Kind(2, ("cut",), everywhere=True),
    Kind(1, ("stall+",), (7.0, 20.0), everywhere=True),
)


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault of a venue that begins ``at`` seconds after the soak's start."""

    at: float
    venue: str
    fault: ScheduledFault

    def __str__(self) -> str:
        lasts = "" if self.fault.duration is None else f"+{self.fault.duration:.1f}"
        return f"{self.at:8.1f} s  {self.venue}:{self.fault.fault}{lasts}"


@dataclass(frozen=True, slots=True)
class Beginning:
    """Differences between the venues from the start: faults of each venue, and units of its markets, such as
    1000DOGE."""

    specs: Mapping[str, tuple[str, ...]]
    units: Mapping[str, Mapping[str, int]]

    @property
    def others(self) -> set[str]:
        """The coins whose name stands for another coin on some venue."""
        start = "other-coin-"
        every = (spec for specs in self.specs.values() for spec in specs)
        return {spec.removeprefix(start) for spec in every if spec.startswith(start)}


def begin(seed: int, venues: Mapping[str, bool]) -> Beginning:
    """Draw whether a venue has another coin under a coin's name or a market of a thousand units, or is in maintenance.

    Another coin is never on the first venue: only a second venue could show which of the two coins is meant.
    """
    dice = Random(f"{seed} beginning")
    names = list(venues)
    specs: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    units: dict[str, dict[str, int]] = {}
    if dice.random() < 0.6:
        specs[dice.choice(names[1:])] += (f"other-coin-{dice.choice(('INJ', 'LTC', 'ETH'))}",)
    elif dice.random() < 0.6:
        specs[names[0]] += (f"halted+{dice.uniform(15, 40):.1f}",)
    if dice.random() < 0.6:
        name = dice.choice(names)
        specs[name] += ("thousands-DOGE",)
        units[name] = {"DOGE": 1000}
    if dice.random() < 0.3:
        specs[dice.choice(names[1:])] += (f"quoted-KRW+{dice.uniform(30, 90):.1f}",)
    return Beginning(specs, units)


def draw(seed: int, venues: Mapping[str, bool], mean_pause: float = MEAN_PAUSE) -> Iterator[Strike]:
    """An endless sequence of faults of ``venues`` (name -> whether its trade ids are consecutive), in the order of
    their times."""
    dice = Random(seed)
    names = list(venues)
    weights = [kind.weight for kind in KINDS]
    now, blocked = QUIET_START, -BLOCK_PAUSE
    waiting: list[Strike] = []
    counting = {name for name in names if venues[name]}
    while True:
        kind = dice.choices(KINDS, weights)[0]
        possible = [name for name in names if (name in counting or not kind.counted) and kind.only in ("", name)]
        if kind.specs[0].startswith("skipping"):
            counting.discard(SKIPS)
        struck = names if kind.everywhere else names[:1] if kind.first else [dice.choice(possible)]
        duration = dice.uniform(*kind.lasts)
        argument = dice.choice(kind.choices) if kind.choices else ""
        if kind.specs[0].startswith("blocked"):
            kind, blocked = (kind, now) if now - blocked >= BLOCK_PAUSE else (KINDS[0], blocked)
        moments = [now, *(now + dice.uniform(0.05, 6.0) for _ in range(dice.randint(1, kind.repeat) - 1))]
        waiting += [
            strike
            for moment in moments
            for name in struck
            for strike in _strikes(kind.specs, name, moment, argument, duration, name in counting)
        ]
        now += dice.expovariate(1 / mean_pause)
        waiting.sort(key=lambda strike: strike.at)
        while waiting and waiting[0].at <= now:
            yield waiting.pop(0)


def _strikes(
    specs: Sequence[str], venue: str, at: float, argument: object, duration: float, counts: bool
) -> Iterator[Strike]:
    for spec in specs:
        text = spec.format(argument)
        if text.endswith("+"):
            silences = text in ("stall+", "mute+") and not counts
            text += f"{max(duration, LONG_ENOUGH) if silences else duration:.2f}"
        fault = parse_fault(text)
        yield Strike(at + fault.start, venue, ScheduledFault(fault.fault, 0.0, fault.duration, venue))
