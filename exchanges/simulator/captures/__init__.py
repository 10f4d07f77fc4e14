"""Reads files of captured frames, and plays them on a simulated venue."""
