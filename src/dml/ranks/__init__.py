"""The processes that share one experiment: each has some rows of X, and they send each other tensors."""
