"""The same reader as ``market_feed``, but on uvloop."""

from __future__ import annotations

import uvloop

from tests.benchmarks.clients.market_feed import main

uvloop.run(main())
