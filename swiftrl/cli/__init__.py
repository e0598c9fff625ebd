"""The command line: the only wiring."""
