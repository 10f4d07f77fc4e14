"""The reports of the commands, as tables, sentences and metrics."""
