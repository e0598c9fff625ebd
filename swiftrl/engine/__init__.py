"""Generation, for rollouts and serving alike."""
