"""What is special about each venue: a file each, found by its name."""
