"""Sources, row formats, mixing, encoding and batches of trees."""
