"""How much memory a training run needs, worked out from shapes: no weight is ever read."""
