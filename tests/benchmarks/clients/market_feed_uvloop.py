"""The same as market_feed on uvloop, which a program may choose."""

from __future__ import annotations

import uvloop

from tests.benchmarks.clients.market_feed import main

uvloop.run(main())
