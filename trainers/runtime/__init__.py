"""Devices, precision and random streams: the runtime that makes runs reproducible bit by bit."""
