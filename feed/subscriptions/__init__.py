"""How events reach a program: callbacks, iterators, status events."""
