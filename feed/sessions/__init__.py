"""Which venue is carried, and the connections that carry it."""
