"""What commands find and count, as tables, sentences and metrics."""
