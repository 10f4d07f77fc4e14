"""Estimates a venue's time; decides which of its stamps are plausible, and when this machine's clock counts as wrong.

A stamp far ahead of the local clock is not believed, unless the venue's own clock confirms it. The venue's clock is
known from its answer to a request for its time, or from its stamps: if stamps keep the same distance from a clock that
never steps, they come from a running clock. The estimates are shared by all feeds of a process, by the venue's name.
"""

from __future__ import annotations

import time

AHEAD = 86_400_000  # ms; clocks are wrong by seconds, or hours (mixed up time zones): a stamp further ahead is no time
CLOCK = "the clock of this machine"  # the first words of the report of a wrong clock
WRONG = 60_000  # ms; a synchronized clock is never wrong by this much
_STAMPS = 5  # stamps that prove a running clock
_WITHIN = 2_000  # ms by which these stamps may differ from a running clock
_OVER = 2_500  # ms between the first and the last of these stamps

_told: dict[str, float] = {}  # venue -> its Unix ms minus the ms of the clock that never steps
_suspected: dict[str, list[tuple[float, float]]] = {}  # venue -> (arrival, stamp - arrival) of doubted stamps

_clock = getattr(time, "CLOCK_BOOTTIME", None)  # this clock also runs during a suspend


def _now() -> float:
    """The ms of a clock that never steps."""
    return (time.clock_gettime(_clock) if _clock is not None else time.monotonic()) * 1000


def tell(venue: str, stamp: float) -> None:
    """Take the time (Unix ms) that the venue has just answered."""
    _told[venue] = stamp - _now()
    _suspected.pop(venue, None)


def at_venue(venue: str) -> float | None:
    """Return the time at the venue in Unix ms, None while that is not known."""
    difference = _told.get(venue)
    return None if difference is None else difference + _now()


def local_error(venue: str) -> float | None:
    """Return the seconds by which this machine's clock is ahead of the venue's (below 0: behind); None if unknown."""
    known = at_venue(venue)
    return None if known is None else time.time() - known / 1000


def latest(venue: str, received_at: int) -> int:
    """Return the latest plausible stamp (Unix ms) for a frame read at ``received_at`` (local Unix ns)."""
    known = at_venue(venue)
    return max(received_at // 1_000_000, 0 if known is None else int(known)) + AHEAD


def is_time(venue: str, stamp: int, received_at: int) -> bool:
    """Return whether a stamp is plausible. Other stamps are kept: several may prove that the local clock is wrong."""
    if stamp <= latest(venue, received_at):
        return True
    if venue in _told:
        return False
    now = _now()
    seen = _suspected.setdefault(venue, [])
    seen[:] = [(at, difference) for at, difference in seen if abs(difference - (stamp - now)) <= _WITHIN]
    seen.append((now, stamp - now))
    if len(seen) < _STAMPS or now - seen[0][0] < _OVER:
        del seen[_STAMPS:]  # keep the first stamps: they show since when the clock has been wrong
        return False
    _told[venue] = min(difference for _, difference in _suspected.pop(venue))
    return True


def complaint(venue: str) -> str | None:
    """Return the report of a wrong local clock, None if the clock is not known to be wrong."""
    wrong = wrong_by(local_error(venue), venue)
    return None if wrong is None else f"{CLOCK} is {wrong}: set it, for example by NTP"


def wrong_by(error: float | None, venue: str) -> str | None:
    """Return the :func:`local_error` in words, as "3.0 days behind binance's"; None if it is unknown or too small."""
    return None if error is None or abs(error) * 1000 < WRONG else f"{span(error)} {venue}'s"


def span(seconds: float) -> str:
    """Return a difference between two clocks in words: 3.0 days behind."""
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("s", 1))
    unit, length = next((each for each in units if abs(seconds) >= each[1]), units[-1])
    return f"{abs(seconds) / length:.1f} {unit} {'behind' if seconds < 0 else 'ahead of'}"
