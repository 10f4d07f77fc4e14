"""The simulator's error: its message is one line that says what was wrong and what is allowed."""

from __future__ import annotations


class SimulatorError(ValueError):
    """A wrong argument, fault, capture file or port: the text says what was found and what is allowed."""
