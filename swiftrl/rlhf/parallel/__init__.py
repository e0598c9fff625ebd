"""How rows, tokens, weights and the optimizer's state lie over the processes of a run."""
