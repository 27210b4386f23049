"""A trial: the training of a group of replicates, in one process or as Ray Train workers."""
