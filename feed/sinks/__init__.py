"""What goes out of a feed to other programs, over the public API of MarketFeed alone."""
