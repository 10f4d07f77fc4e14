"""Venues that are read from a bus: collectors publish on NATS JetStream, and any number of programs read from it."""
