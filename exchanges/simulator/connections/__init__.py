"""WebSocket and REST of the simulator, with the venues' rules."""
