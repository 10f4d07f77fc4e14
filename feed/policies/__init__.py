"""The feed's decisions: pure, with time as an argument."""
