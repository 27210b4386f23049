"""The spec: what a user writes, read, validated, with every mistake named by its field."""
