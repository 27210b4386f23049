"""What is known of a guide before it guides, against what came of it: the table `predictors`."""
