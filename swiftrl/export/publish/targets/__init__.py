"""Export targets, one file each: `swiftrl export --to NAME`."""
