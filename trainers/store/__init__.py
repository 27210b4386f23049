"""The store: whole files, leases, checkpoints, and the tables of a replicate."""
