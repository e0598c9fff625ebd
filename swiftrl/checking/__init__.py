"""Whether what a model wrote is right: answers compared, mathematics, programs run."""
