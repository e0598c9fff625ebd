"""Row formats, one module each, exporting FORMAT."""
