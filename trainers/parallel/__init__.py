"""Data-parallel training of one replicate on several workers, as one process would train it."""
