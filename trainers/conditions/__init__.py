"""What defines a training run, frozen, and the content id that follows from it."""
