"""A script for each compared reader; each script runs with the reader's own Python, and they share only ``tally``."""
