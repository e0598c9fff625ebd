"""Chat templates: rendering, probing and loss masks."""
