"""``python -m tests.soak --minutes N --seed S`` runs a soak, and exits with 1 if the feed broke a promise."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.soak.books.run import soak as soak_books
from tests.soak.books.run import table as books_table
from tests.soak.plan import MEAN_PAUSE
from tests.soak.report import table
from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="The feed under random faults.")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=MEAN_PAUSE, help="mean seconds between two faults")
    parser.add_argument("--books", action="store_true", help="order books instead, each compared with the venue's own")
    parser.add_argument("--verbose", action="store_true", help="every fault and status event on stderr")
    arguments = parser.parse_args()

    def say(line: str) -> None:
        if arguments.verbose or line.startswith("!!!") or "=" in line[:14]:
            print(line, file=sys.stderr, flush=True)

    if arguments.books:
        books = asyncio.run(soak_books(arguments.minutes, arguments.seed, say, mean_pause=arguments.pause))
        print(books_table(books))
        return 1 if books.broken else 0
    result = asyncio.run(soak(arguments.minutes, arguments.seed, say, mean_pause=arguments.pause))
    print(table(result))
    if result.broken:
        print(f"repeat it with: python -m tests.soak {' '.join(sys.argv[1:])}")
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
