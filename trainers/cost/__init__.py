"""What training costs: counted from shapes, or timed on a few steps."""
