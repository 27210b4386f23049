"""What one trial does: a group of replicates, alone or as a Ray Train worker."""
