"""What every reader does with a trade: it keeps the trade's id and the time; only the standard library is needed.

A reader is a process: ``python -m tests.benchmarks.clients.NAME VENUE REST_URL WS_URL COIN,COIN OPTIONS``. It connects,
and passes every trade's id to ``take``. A thread, which sleeps between two lines, answers the runner's lines on stdin:
the answer to ``look`` is a line with the number of trades and the CPU seconds so far; ``dump FILE`` writes the ids and
times to a file and ends the process at once, so that no reader needs code to close its connections.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

ids: list[Any] = []
times: list[int] = []


def take(trade_id: int | str) -> None:
    """Note a trade that has just come. All processes use the machine's clock, so the sender's times can be compared."""
    ids.append(trade_id)
    times.append(time.perf_counter_ns())


@dataclass(frozen=True, slots=True)
class Place:
    """Where the venue is and what to read there; ``options`` are for this reader only."""

    venue: str
    rest_url: str
    ws_url: str
    coins: list[str]
    options: dict[str, Any]


def begin() -> Place:
    """Start to answer the runner."""
    threading.Thread(target=_answer, daemon=True).start()
    venue, rest_url, ws_url, coins, options = sys.argv[1:]
    return Place(venue, rest_url, ws_url, coins.split(","), json.loads(options))


def _answer() -> None:
    for line in sys.stdin:
        word, _, path = line.strip().partition(" ")
        if word == "look":
            print(json.dumps({"trades": len(ids), "cpu": time.process_time()}), flush=True)
        else:
            with open(path, "w") as file:
                json.dump({"ids": [int(each) for each in ids], "times": times}, file)
            os._exit(0)
    os._exit(1)  # the runner has ended
