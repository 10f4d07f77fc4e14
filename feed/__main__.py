"""``python -m feed`` is ``market-feed``."""

from __future__ import annotations

import sys

from feed.cli import main

if __name__ == "__main__":
    sys.exit(main())
