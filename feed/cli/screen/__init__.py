"""What a terminal shows of a feed while it runs."""
