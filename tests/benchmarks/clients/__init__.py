"""One script per reader that is compared, run with that reader's own interpreter; only ``tally`` is shared."""
