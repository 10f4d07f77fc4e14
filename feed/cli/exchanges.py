"""``market-feed exchanges``: prints the venues and the channels that each supports."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from feed.channels import OF_VENUES
from feed.cli.process import CommandError
from feed.cli.reports.tables import columns

if TYPE_CHECKING:
    from exchanges.ccxt_adapter.support import Support


def run(args: argparse.Namespace) -> int:
    """Print the venues whose row contains every word of the command line."""
    from exchanges import supported

    rows = [[row.name, row.title, *(_mark(row, channel) for channel in OF_VENUES), row.note] for row in supported()]
    words = [word.lower() for word in args.words]
    found = [row for row in rows if all(any(word in cell.lower() for cell in row) for word in words)]
    if not found:
        raise CommandError(
            f"found no exchange for {' '.join(args.words)!r}, allowed are words that `market-feed exchanges` prints"
        )
    print(columns(("name", "exchange", *OF_VENUES, "remark"), found))
    return 0


def _mark(row: Support, channel: str) -> str:
    """Return "-" for a channel that the venue does not stream, else "yes"; for books, what proves them in its place."""
    if channel not in row.channels:
        return "-"
    return row.book_proof if channel == "books" else "yes"
