"""Training: the tree batch, losses, algorithms and the trainer."""
