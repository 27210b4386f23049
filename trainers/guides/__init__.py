"""Guides: frozen networks, where their weights are from, and what is kept of their features."""
