"""Fetches past candles over REST, also those that volatility needs, and joins them to the delivered candles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from loguru import logger

from exchanges.errors import Disconnected, VenueError
from exchanges.events import Candle
from feed.candles.overdue import GRACE
from feed.candles.stamp_check import AHEAD
from feed.channels import CANDLES
from feed.clock import is_set_within
from feed.errors import FeedError, SettingsError
from feed.events import CoinConfig
from feed.market_data.hub import MarketDataHub
from feed.market_data.volatility import TIMEFRAME
from feed.settings.timeframes import TIMEFRAMES, next_open
from feed.subscriptions.wanted_data import WantedData

if TYPE_CHECKING:
    from exchanges.venue import Venue
    from feed.candles.venue_candles import VenueCandles

LIMIT = 10_000  # the most candles of one call: ten requests if a request returns a thousand
WARM = 61  # candles that volatility's default window needs: sixty closed candles and the open one
AT_ONCE = 4  # requests at a time for volatility's candles; ccxt waits between them as the venue requires
AGAIN = 30.0  # seconds until coins whose candles could not be fetched are tried again


@dataclass(frozen=True, slots=True)
class HistorySource:
    """Where the past candles of a coin come from.

    ``candles`` are those that the session of ``venue`` keeps; ``venue_time`` returns the venue's time now, Unix ms, or
    None while it is not known.
    """

    venue: Venue
    candles: VenueCandles
    venue_time: Callable[[], float | None]


class CandleHistory:
    """Fetches the candles from before the feed connected."""

    def __init__(
        self, hub: MarketDataHub, wanted: WantedData, source_of: Callable[[str], HistorySource | None]
    ) -> None:
        self._hub = hub
        self._wanted = wanted
        self._source_of = source_of  # by coin; None while no venue carries it
        self._done: set[str] = set()  # coins that have enough closed candles
        self._something_new = asyncio.Event()  # set when there are coins without enough candles

    def forget(self, coins: Iterable[str]) -> None:
        """Forget that candles of these coins were fetched: the coins were removed, or added again."""
        self._done.difference_update(coins)
        self._something_new.set()

    async def candles(self, coin: str, timeframe: str, limit: int) -> list[Candle]:
        """See MarketFeed.candles_history; ``coin`` is a coin of the feed."""
        check_limit(limit)
        config = next(config for config in self._wanted.coins if config.symbol == coin)
        try:
            return await self._fetched(config, timeframe, limit)
        except VenueError as error:
            raise FeedError(f"{coin}: no {timeframe} candles from {error}") from error

    async def warm(self, ready: asyncio.Future[None]) -> None:
        """Fetch the closed candles that each coin's volatility needs, once data flows; runs until cancelled."""
        await asyncio.wait({ready})
        self._done.clear()
        self._something_new = asyncio.Event()  # a new event for each run: it belongs to one event loop
        while True:
            self._something_new.clear()
            if CANDLES.name in self._wanted.channels and TIMEFRAME in self._wanted.timeframes:
                cold = [coin for coin in self._wanted.coins if coin.symbol not in self._done]
                queue = iter(sorted(cold, key=lambda coin: coin.tier))
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(AT_ONCE, len(cold))):
                        group.create_task(self._warm_up(queue), name="market feed history")
            await is_set_within(self._something_new, AGAIN)

    async def _warm_up(self, queue: Iterator[CoinConfig]) -> None:
        for coin in queue:
            try:
                if self._hub.volatility.count(coin.symbol) < WARM - 1:
                    await self._fetched(coin, TIMEFRAME, WARM)
                self._done.add(coin.symbol)
            except (VenueError, FeedError) as error:
                logger.info("{}: its past candles could not be fetched for volatility yet: {}", coin.symbol, error)
                if isinstance(error, Disconnected):
                    return  # the venue has failed, not the coin: the other coins are fetched in the next round
            except Exception:  # noqa: BLE001 - a defect here must not end the feed: prices need no past candles
                logger.exception("{}: its past candles are not used for volatility: an unforeseen error", coin.symbol)
                self._done.add(coin.symbol)

    async def _fetched(self, coin: CoinConfig, timeframe: str, limit: int) -> list[Candle]:
        """Fetch the newest ``limit`` candles; raises VenueError, and FeedError if no venue carries the coin."""
        source = self._source_of(coin.symbol)
        if source is None:
            raise FeedError("the feed has no exchange yet: await connect() or call start() first")
        venue, hub = source.venue, self._hub
        _check(timeframe, venue)
        await venue.load()
        symbol = venue.market(coin.symbol, coin.markets.get(venue.name))
        asked_at = source.venue_time()
        past = await venue.fetch_history(coin.symbol, symbol, timeframe, limit)
        if coin not in self._wanted.coins:
            raise FeedError(f"{coin.symbol} was removed from the feed meanwhile")
        source.candles.answered(past)
        _judge(past, asked_at, source.venue_time(), hub.delivered_candles.newest(coin.symbol, timeframe))
        if hub.markets.withholds(venue.name, coin.symbol, symbol):
            raise FeedError(f"{venue.name}'s {symbol} is withheld: its price is too far from {coin.symbol}'s last one")
        # no await below: the next candle that the feed delivers must follow the last candle returned
        for candle in hub.delivered_candles.overdue(past):
            hub.on_candle(candle)
        joined = hub.delivered_candles.joined(coin.symbol, timeframe, past)[-limit:]
        closed = [candle for candle in joined if candle.closed]
        # candles that are not closed yet, because the feed left the venue before the answer came
        refused = hub.delivered_candles.overdue(past)
        known = [candle for candle in closed if not refused or candle.timestamp < refused[0].timestamp]
        if known:
            source.candles.known(symbol, timeframe, known[-1].timestamp)
        for candle in closed:
            hub.on_past_candle(candle)
        return joined


def _judge(
    past: Sequence[Candle], asked_at: float | None, answered_at: float | None, delivered: Candle | None = None
) -> None:
    """Set which candles of an answer are closed, given the venue's time (Unix ms) at the request and at the answer.

    The newest candle is closed if it had ended GRACE before the request, unless ``delivered``, the newest candle of the
    stream, is later: then the record is behind the stream. An earlier candle is closed unless the venue's time shows
    that it has not ended: some venues list candles that have not begun.
    """
    for candle in past:
        end = next_open(candle.timestamp, candle.timeframe) if candle.timeframe in TIMEFRAMES else inf
        if candle is past[-1]:
            behind = delivered is not None and _is_later(delivered, candle)
            candle.closed = asked_at is not None and end + GRACE * 1000 <= asked_at and not behind
        else:
            candle.closed = answered_at is None or end == inf or end <= answered_at + AHEAD


def _is_later(delivered: Candle, candle: Candle) -> bool:
    return (delivered.exchange, delivered.market) == (candle.exchange, candle.market) and (
        delivered.timestamp > candle.timestamp and delivered.volume > 0
    )


def check_limit(limit: int) -> None:
    """Raise SettingsError for a number of candles that one call can't return."""
    if type(limit) is not int or not 1 <= limit <= LIMIT:
        raise SettingsError([f"limit: found {limit!r}, allowed is a whole number of candles from 1 to {LIMIT:,}"])


def _check(timeframe: str, venue: Venue) -> None:
    allowed = venue.timeframes
    if not allowed:
        raise FeedError(f"{venue.name} has no candles over REST; subscribe_candles() builds them as trades come in")
    if timeframe not in allowed:
        raise SettingsError([f"timeframe: found {timeframe!r}, allowed on {venue.name} are {', '.join(allowed)}"])
