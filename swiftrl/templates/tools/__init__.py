"""Tool-call syntaxes, one file each: what a model writes to call a function."""
