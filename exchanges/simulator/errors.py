"""What the simulator refuses to do, in one line for the person who asked."""

from __future__ import annotations


class SimulatorError(ValueError):
    """A wrong argument, fault, capture file or port: the text says what was found and what is allowed."""
