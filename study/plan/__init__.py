"""The plan: from a spec to conditions and replicates, their labels, states, cost and trials."""
