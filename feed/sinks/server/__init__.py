"""One feed for programs in any language: REST, a WebSocket, Server-Sent Events, metrics."""

import exchanges  # noqa: F401 - must come before aiohttp, whose import may wait for ever: see late_authorities
