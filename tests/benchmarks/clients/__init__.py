"""The script of each reader that is compared; it runs with the reader's own Python, and only ``tally`` is shared."""
