"""One file a format of quantised weights, each with a FORMAT."""
