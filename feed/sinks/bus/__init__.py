"""Collectors: every event of some exchanges on a bus, once and in order, whichever of several collectors lives."""
