"""What a feed's supervisors and sessions get from it: settings, hub, reports, and what closes their connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from feed.market_data.hub import MarketDataHub
from feed.policies.staleness import SilenceWatch
from feed.sessions.closings import Closings
from feed.settings.schema import Settings
from feed.subscriptions.status import Report
from feed.subscriptions.wanted_data import WantedData


@dataclass(frozen=True, slots=True)
class FeedContext:
    """What one supervisor and its sessions need of the feed.

    ``main`` is False for the supervisor of fallback coins: its data does not count as data of the feed. ``report``
    reports events that may change the feed's state, ``aside`` events that do not. ``wake`` is called when a decision
    may be due. ``closings`` takes over the closing of a connection: a dead peer may delay it, and the next dial must
    not wait.
    """

    settings: Settings
    hub: MarketDataHub
    wanted: WantedData
    silence_watch: SilenceWatch
    report: Report
    aside: Report
    main: bool
    wake: Callable[[], None]
    closings: Closings
