"""A study as one file, to be read by people and programs elsewhere, and brought into a store."""
