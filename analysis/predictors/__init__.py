"""Properties of a guide before it guides, against the gain by it: the table `predictors`."""
