"""One file a command; its name, with - for _, is what the user types."""
