"""One feed for programs in any language: REST, a WebSocket, Server-Sent Events, metrics."""
