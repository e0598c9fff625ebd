"""One file a way of quantising, each with a METHOD."""
