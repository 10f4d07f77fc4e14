"""The simulator: one loopback port for all venues, told apart by the path; each makes 50 trades a second by default."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from exchanges.simulator import control
from exchanges.simulator.binance.streams import Binance
from exchanges.simulator.binance.swap import BinanceSwap
from exchanges.simulator.bybit.streams import Bybit
from exchanges.simulator.captures.file_format import Capture, read_captures
from exchanges.simulator.captures.replay import Replay, start_of
from exchanges.simulator.connections.venue_laws import (
    BINANCE_LAWS,
    BINANCE_SWAP_LAWS,
    BYBIT_LAWS,
    LAWLESS,
    VenueLaws,
    copy_of,
)
from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import ScheduledFault, parse_fault
from exchanges.simulator.markets.catalog import list_markets

AnyVenue = Binance | Bybit

VENUES: dict[str, tuple[type[Binance] | type[Bybit], VenueLaws]] = {
    "binance": (Binance, BINANCE_LAWS),
    "binance_us": (Binance, BINANCE_LAWS),
    "bybit": (Bybit, BYBIT_LAWS),
    "binance_swap": (BinanceSwap, BINANCE_SWAP_LAWS),
}
RATE = 50.0  # trades per second of a venue, by default
HEARTBEAT = 0.01  # seconds between two checks for what is due


class Simulator:
    """Loopback venues that speak Binance spot and Bybit v5 spot, with their rules, and faults on demand.

    ``port`` 0 takes any free port. ``rate`` is the number of trades per second of each venue (0: only trades that a
    test makes). ``markets`` is how many markets are listed; ``coins`` names exactly the listed markets instead.
    ``laws=False`` limits nothing; a mapping of venue names to ``VenueLaws`` sets the limits. ``faults`` are texts as
    ``parse_fault`` reads them; a fault without a venue is for all venues. ``replay`` names capture files that are
    played on Binance instead, at ``speed`` times the recorded pace (0: as fast as the sockets take them) or at about
    ``rate`` trades per second.

    Raises SimulatorError for wrong arguments, and on ``start()`` when the port is taken.
    """

    def __init__(
        self,
        port: int = 0,
        venues: Sequence[str] | None = None,
        rate: float | None = None,
        markets: int = 40,
        seed: int = 1,
        laws: bool | Mapping[str, VenueLaws] = True,
        coins: Iterable[str] | None = None,
        *,
        host: str = "127.0.0.1",
        faults: Iterable[str] = (),
        replay: Sequence[str | Path] = (),
        speed: float = 1.0,
    ) -> None:
        self._host, self._port = host, port
        names = (("binance",) if replay else ("binance", "bybit")) if venues is None else venues
        self._check(names, rate, speed)
        capture = read_captures(replay) if replay else None
        listings = list_markets(markets, coins) if capture is None else capture.listings()
        pace = (RATE if rate is None else rate) if capture is None else 0.0
        start = None if capture is None else start_of(capture)
        self.venues: dict[str, AnyVenue] = {}
        for name in names:
            kind, statute = VENUES[name]
            own = LAWLESS if not laws else laws.get(name, statute) if isinstance(laws, Mapping) else statute
            self.venues[name] = kind(name, listings, seed=seed, rate=pace, laws=copy_of(own), start=start)
        self.replay = None if capture is None else self._replay(capture, speed, rate)
        self._player: asyncio.Task[None] | None = None
        self._faults = [self._known(parse_fault(spec)) for spec in faults]
        self._never = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._heart: asyncio.Task[None] | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._running: list[AbstractContextManager[None]] = []

    @staticmethod
    def _check(venues: Sequence[str], rate: float | None, speed: float) -> None:
        if isinstance(venues, str) or not venues:
            raise SimulatorError(f"venues must be names out of {', '.join(VENUES)}, found {venues!r}")
        for name in venues:
            if name not in VENUES:
                raise SimulatorError(f"unknown venue {name!r}; allowed are {', '.join(VENUES)}")
        for name in venues:
            others = [other for other in venues if VENUES[other][0] is VENUES[name][0]]
            if len(others) > 1:
                raise SimulatorError(f"{' and '.join(others)} have the same paths: each needs a simulator of its own")
        if rate is not None and rate < 0:
            raise SimulatorError(f"rate must be 0 or more trades per second, found {rate:g}")
        if speed < 0:
            raise SimulatorError(f"speed must be 0 (as fast as possible) or more, found {speed:g}")

    def _replay(self, capture: Capture, speed: float, rate: float | None) -> Replay:
        for venue in self.venues.values():
            if not isinstance(venue, Binance):
                raise SimulatorError(f"a replay has Binance's frames: only binance can play them, found {venue.name}")
            return Replay(capture, venue, speed, rate)
        raise SimulatorError("a replay needs a venue")

    @property
    def replay_done(self) -> asyncio.Event:
        """Set when the replay has been played to its end; never set without a replay."""
        return self._never if self.replay is None else self.replay.done

    @property
    def replay_state(self) -> str | None:
        """The state of the replay, in words; None without a replay."""
        return None if self.replay is None else self.replay.state

    # -- life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start to serve; returns when the port is open."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise self._no_port(error) from None
        self._runner = runner
        self._port = runner.addresses[0][1]
        for fault in self._faults:  # faults begin before the first trade
            self.schedule(fault)
        self._heart = asyncio.create_task(self._beat(), name="simulator")
        if self.replay is not None:
            self._player = asyncio.create_task(self.replay.play(), name="simulator replay")

    def _no_port(self, error: OSError) -> SimulatorError:
        if error.errno == errno.EADDRINUSE:
            text = f"port {self._port} on {self._host} is already in use"
            return SimulatorError(f"{text}; choose another with --port, or 0 for any free one")
        return SimulatorError(f"port {self._port} on {self._host} cannot be opened: {error.strerror}")

    async def close(self) -> None:
        """End every connection and free the port; safe to call again."""
        tasks = [task for task in (self._heart, self._player) if task is not None]
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        self._heart = self._player = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        while self._running:
            self._running.pop().__exit__(None, None, None)
        for venue in self.venues.values():
            venue.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for end in ends:
            if isinstance(end, Exception):
                raise end  # an error in the simulator itself must not look like a quiet venue

    async def _beat(self) -> None:
        while True:
            for venue in self.venues.values():
                venue.advance()
            await asyncio.sleep(HEARTBEAT)

    # -- where it is --------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> AnyVenue:
        if name not in self.venues:
            raise KeyError(f"no venue {name!r} here; there are {', '.join(self.venues)}")
        return self.venues[name]

    @property
    def host(self) -> str:
        return self._host

    @property
    def port(self) -> int:
        return self._port

    @property
    def rest_url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self._host}:{self._port}"

    def settings_yaml(self) -> str:
        """The lines of settings.yaml that point at this simulator."""
        kinds = {"binance_swap": "binance, market_type: swap"}
        rows = [
            f'  - {{name: {kinds.get(name, name)}, rest_url: "{self.rest_url}", ws_url: "{self.ws_url}"}}'
            for name in self.venues
        ]
        return "\n".join(["exchanges:", *rows, ""])

    # -- requests -----------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith(control.PREFIX):
            return await control.handle(self, request)
        for venue in self.venues.values():
            if venue.owns(request.path):
                if venue.is_stream(request.path):
                    return await venue.upgrade(request)
                return await venue.answer(request)
        return web.Response(status=404, text=f"no venue here has the path {request.path}")

    # -- faults -------------------------------------------------------------------------------------------------

    def _known(self, fault: ScheduledFault) -> ScheduledFault:
        if fault.venue is not None and fault.venue not in self.venues:
            raise SimulatorError(f"fault for unknown venue {fault.venue!r}; here are {', '.join(self.venues)}")
        if not self._targets(fault):
            raise SimulatorError(f"fault {fault.fault}: {fault.venue or ', '.join(self.venues)} cannot have it")
        return fault

    def _targets(self, fault: ScheduledFault) -> list[AnyVenue]:
        named = [self.venues[fault.venue]] if fault.venue else self.venues.values()
        return [venue for venue in named if venue.can_have(fault.fault)]

    def schedule(self, fault: ScheduledFault) -> None:
        """Start this fault ``start`` seconds from now."""
        self._known(fault)
        for venue in self._targets(fault):
            if fault.start > 0:
                self._later(fault.start, partial(self._begin, venue, fault))
            else:
                self._begin(venue, fault)

    def _begin(self, venue: AnyVenue, fault: ScheduledFault) -> None:
        running = venue.inject(fault.fault)
        running.__enter__()
        self._running.append(running)
        if fault.duration is not None:
            self._later(fault.duration, partial(self._end, running))

    def _end(self, running: AbstractContextManager[None]) -> None:
        self._running.remove(running)
        running.__exit__(None, None, None)

    def _later(self, seconds: float, act: Callable[[], Any]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)
