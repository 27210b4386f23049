"""Guides: frozen networks, the sources of their weights, and caches of their features."""
