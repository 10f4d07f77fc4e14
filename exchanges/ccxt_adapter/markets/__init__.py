"""A venue's markets: loaded once, kept on disk, found by coin."""
