"""What the simulator's clients see: WebSocket and REST, with the venues' rules."""
