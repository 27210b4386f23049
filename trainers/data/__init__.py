"""Data on disk: the data root, readers of files, and a cache that a machine's processes share."""
