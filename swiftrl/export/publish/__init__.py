"""Models brought to where they are used: hubs, object stores, services, files to run them."""
