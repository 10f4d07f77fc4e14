"""Settings that make outages short."""

from __future__ import annotations

from feed.settings import Connection

QUICK = Connection(
    connect_timeout=2, backoff_initial=0.05, backoff_max=0.5, stable_after=0.5, attempts_before_failover=2,
    failback_after=1,
)  # fmt: skip
