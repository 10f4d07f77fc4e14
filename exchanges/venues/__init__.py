"""What is special about each venue: one file for each, found by its name."""
