"""``python -m feed`` does the same as the command ``market-feed``."""

from __future__ import annotations

import sys

from feed.cli import main

if __name__ == "__main__":
    sys.exit(main())
