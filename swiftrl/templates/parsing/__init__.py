"""How tool calls are read from text that arrives in pieces."""
