"""Checks every price that the feed delivers, and every price that ``require_fresh`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.soak.tally import FAR_AHEAD, Tally
from tests.soak.truth import Truth

LATE_BY = 0.25  # seconds by which a fresh price may be older than its max_age, because of rounding and busy machines
WITHHELD = 900.0  # seconds for which another venue may deliver a coin whose price was withheld
HANDOVER = 1.0  # seconds after its first price, within which a new active venue must deliver the fallback coins
NEAR = 2.0  # percentage points by which a 24 h change may differ from the changes of the last seconds


class Prices:
    """Checks that each price was a price of its venue, that this venue may deliver the coin, and that fresh prices are
    recent.
    """

    def __init__(
        self, truths: Mapping[str, Truth], tallies: Mapping[str, Tally], unix: float,
        breach: Callable[[str, float, str], None],
    ) -> None:  # fmt: skip
        self.oldest_fresh = 0.0  # seconds
        self._truths = truths
        self._tallies = tallies
        self._unix = unix  # Unix seconds minus monotonic seconds
        self._breach = breach
        self._newest: dict[str, tuple[tuple[str, str], int]] = {}  # coin -> venue and time of its last tick
        self._withheld: dict[tuple[str, str], float] = {}  # venue and coin -> when a price was withheld there
        self._sampled = 0
        self._left = ""  # the venue that was active before
        self._fallback_coins: set[str] = set()  # coins that did not come from the venue ``_left``
        # when the active venue delivered its first price after it became active
        self._delivers_since: float | None = None

    def switched(self, left: str) -> None:
        """Call this when another venue becomes active."""
        self._fallback_coins = {coin for coin, ((venue, _), _) in self._newest.items() if venue != left}
        self._left, self._delivers_since = left, None

    def price(
        self, at: float, coin: str, venue: str, price: float, timestamp: int, volume: float | None,
        change: float | None, market: str, *, active: str,
    ) -> None:  # fmt: skip
        truth, tally = self._truths[venue], self._tallies[venue]
        tally.ticks += 1
        if active == venue and self._delivers_since is None:
            self._delivers_since = at
        if active not in (venue, "") and not self._may_come_from(venue, coin, active, at):
            tally.mixed_prices += 1
            self._breach("mixed price", at, f"{coin} of {venue} while {active} was active")
        wrong = truth.judge(coin, price, timestamp)
        if wrong is not None:
            tally.wrong_prices += 1
            self._breach(wrong, at, f"{coin} {price} at {timestamp} on {venue} ({market})")
        before = self._newest.get(coin)
        back = before is not None and before[0] == (venue, market) and timestamp < before[1] - 1500
        if before is not None and back and not truth.late_lately(at):
            tally.older_prices += 1
            self._breach("older price", at, f"{coin} on {venue}: {timestamp} after {before[1]}")
        if timestamp < (at + self._unix) * 1000 + FAR_AHEAD:
            self._newest[coin] = ((venue, market), timestamp)
        self._sampled += 1
        if change is not None and self._sampled % 10 == 0:
            own = truth.day_changes(coin, price, timestamp)
            if not any(low - NEAR <= change <= high + NEAR for low, high in own):
                tally.mixed_statistics += 1
                others = {name: each.day_changes(coin, price, timestamp) for name, each in self._truths.items()}
                self._breach("mixed statistics", at, f"{coin} of {venue}: change {change}, the venues' are {others}")

    def _may_come_from(self, venue: str, coin: str, active: str, at: float) -> bool:
        """Whether ``venue`` may deliver the coin although ``active`` is another venue.

        It may if the active venue lacks the coin, if the coin's price on the active venue was reported as withheld, or
        if the coin was a fallback coin before and the active venue has not delivered anything yet.
        """
        begun = self._delivers_since is not None and at - self._delivers_since > HANDOVER
        if not begun and coin in self._fallback_coins and venue != self._left:
            return True
        withheld = self._withheld.get((active, coin), -WITHHELD)
        return at - withheld < WITHHELD or self._truths[active].lacked(coin, at)

    def mismatch(self, at: float, details: Mapping[str, Any]) -> None:
        """Call this when prices of two markets were reported as too far apart for one coin."""
        coin, there, here = details["coin"], details["from"], details["to"]
        self._withheld[here["exchange"], coin] = at
        if not any(self._truths[each["exchange"]].has_another(coin) for each in (there, here)):
            self._breach(
                "false mismatch", at, f"{coin}: {there} and {here} are the same coin; ratio {details['ratio']}"
            )

    def fresh(
        self, at: float, unix_ms: int, coin: str, venue: str, price: float, timestamp: int, max_age: float
    ) -> None:
        """Take a price that require_fresh returned at the time ``unix_ms``."""
        truth, tally = self._truths[venue], self._tallies[venue]
        tally.fresh += 1
        age = truth.age(coin, timestamp, unix_ms)
        self.oldest_fresh = max(self.oldest_fresh, age)
        if age > max_age + LATE_BY:
            tally.not_fresh += 1
            self._breach(
                "old price", at, f"{coin} on {venue} was {age:.2f} s old, require_fresh({max_age:g}) passed it"
            )
        wrong = truth.judge(coin, price, timestamp)
        if wrong is not None:
            tally.wrong_fresh += 1
            self._breach(f"{wrong}, called fresh", at, f"{coin} {price} at {timestamp} on {venue}")
