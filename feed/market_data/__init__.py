"""Where the events of all connections meet: the latest state of each coin."""
