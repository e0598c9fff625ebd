"""How weights, gradients and the optimizer's state lie over the processes of a run."""
