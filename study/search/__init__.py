"""The search of an arm: its space, the points that Optuna asks for, their results in a store."""
