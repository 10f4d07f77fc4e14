"""The connections over which a venue is carried: one that is kept open, and how coins are spread over several."""
