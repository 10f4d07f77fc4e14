"""What is special about each venue."""
