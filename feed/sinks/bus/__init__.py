"""Collectors publish every event of some exchanges on a bus, once and in order; several can replace each other."""
