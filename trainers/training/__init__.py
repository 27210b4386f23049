"""Training of one replicate: the loop, the guided loss, evaluation, reports and saving."""
