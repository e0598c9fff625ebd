"""Hardware: everything that knows a device by name."""
