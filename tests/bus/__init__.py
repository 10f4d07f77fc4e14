"""Tests of the whole bus: with simulated exchanges, collector processes, a real nats-server and consumers."""
