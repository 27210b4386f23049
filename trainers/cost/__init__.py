"""Costs of training: counted from shapes, or timed on a few steps."""
