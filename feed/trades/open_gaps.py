"""The open gaps of one coin, the oldest first: they take what is found for them, and are taken when they have ended."""

from __future__ import annotations

from collections.abc import Callable

from exchanges.events import TradeEvent
from feed.trades.gaps import Gap, OpenGap


class OpenGaps(list[OpenGap]):
    """A list, because the ordinary path asks for each trade whether it is empty."""

    @property
    def deadline(self) -> float | None:
        """When the first of them is to be given up, monotonic seconds; None while none waits."""
        return min((at + each.wait for each in self if each.open and (at := each.found_at) is not None), default=None)

    @property
    def sought(self) -> Gap | None:
        """The oldest one that is to be fetched."""
        return next((each.gap for each in self if each.open and each.gap.fetch), None)

    @property
    def held(self) -> int:
        """How many trades wait behind them."""
        return sum(len(each.held) for each in self)

    @property
    def missing(self) -> int:
        """How many trades they miss, as far as their number is known."""
        return sum(each.gap.missing or 0 for each in self)

    def give_up(self, *, fetched_only: bool = False) -> None:
        """Wait no longer: for any of them, or only for those that are fetched."""
        for each in self:
            each.open = each.open and fetched_only and not each.gap.fetch

    def take_ended(self) -> OpenGap | None:
        """Remove and return the oldest one if it is full or given up."""
        return self.pop(0) if self and (self[0].full or not self[0].open) else None

    def place_numbered(
        self, trade: TradeEvent, number: int | None, floor: int, is_known: Callable[[TradeEvent], bool]
    ) -> bool:
        """Put a trade from REST into the gap by ids to which it belongs; False if there is none.

        A trade whose id is not a number can't be told from those that are here. ``is_known``: whether it was delivered
        under another id.
        """
        if number is None or number < floor:
            return False
        for each in self:
            if not each.numbered or not each.has_place_for(number, trade.timestamp):
                continue
            if number in each.fill or number in each.elsewhere:
                return True
            if is_known(trade):
                each.elsewhere.add(number)
            else:
                trade.backfilled = True
                each.absent.discard(number)
                each.fill[number] = trade
            return True
        return False

    def place_named(self, trade: TradeEvent, is_new: Callable[[str], bool]) -> None:
        """Put a trade from REST into the gap by time to which it belongs, unless its id is known.

        A trade without an id is only taken if its time lies strictly between the trades before and after the gap.
        """
        edge = 0 if trade.trade_id else 1
        for each in self:
            if each.numbered or not each.open:
                continue
            if each.gap.from_ts + edge <= trade.timestamp <= each.gap.to_ts - edge:
                if is_new(trade.trade_id):
                    trade.backfilled = True
                    each.fill[len(each.fill)] = trade
                return
