"""What is compared: one script per reader, run with that reader's own interpreter; only ``tally`` is shared."""
