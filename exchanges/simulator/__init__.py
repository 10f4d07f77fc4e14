"""Loopback venues that speak Binance spot and Bybit v5 spot, enforce the venues' laws and fail on demand.

``async with Simulator() as sim:`` gives ``sim.rest_url`` and ``sim.ws_url`` for any client in any language;
``sim["binance"]`` is a venue: what it traded (``tape``), what clients did (``dials``, ``violations``), and its faults
as context managers (``with venue.stalled(): ...``). ``ThreadedSimulator`` is the same without asyncio.
"""

from .errors import SimulatorError
from .faults import Fault, ScheduledFault, parse_fault
from .laws import BINANCE_LAWS, BYBIT_LAWS, Laws
from .market import Market, Trade
from .server import Simulator
from .threaded import ThreadedSimulator, ThreadedVenue
from .venue import Venue

__all__ = [
    "BINANCE_LAWS",
    "BYBIT_LAWS",
    "Fault",
    "Laws",
    "Market",
    "ScheduledFault",
    "Simulator",
    "SimulatorError",
    "ThreadedSimulator",
    "ThreadedVenue",
    "Trade",
    "Venue",
    "parse_fault",
]
