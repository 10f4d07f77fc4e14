"""Loopback venues that speak Binance spot and Bybit v5 spot, enforce the venues' rules and fail on demand.

``async with Simulator() as sim:`` gives ``sim.rest_url`` and ``sim.ws_url`` for any client in any language;
``sim["binance"]`` is a venue: what it traded (``trades``), what clients did (``dials``, ``violations``), and its faults
as context managers (``with venue.stalled(): ...``). ``ThreadedSimulator`` is for programs without asyncio.
"""

from exchanges.simulator.books.streams import TrueBook
from exchanges.simulator.connections.venue_laws import BINANCE_LAWS, BYBIT_LAWS, VenueLaws
from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import Fault, ScheduledFault, parse_fault
from exchanges.simulator.markets.market import Market, Trade
from exchanges.simulator.server import Simulator
from exchanges.simulator.threaded import ThreadedSimulator, ThreadedVenue
from exchanges.simulator.venue import SimulatedVenue

__all__ = [
    "BINANCE_LAWS",
    "BYBIT_LAWS",
    "Fault",
    "Market",
    "ScheduledFault",
    "SimulatedVenue",
    "Simulator",
    "SimulatorError",
    "ThreadedSimulator",
    "ThreadedVenue",
    "Trade",
    "TrueBook",
    "VenueLaws",
    "parse_fault",
]
