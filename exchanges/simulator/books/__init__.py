"""Streams of order book messages, from a simulated market to the clients that read them."""
