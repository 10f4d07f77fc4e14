"""Captured frames, and playing them on a simulated venue."""
