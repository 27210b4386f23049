"""Where data is, how it is read, and what a machine prepares once for all its processes."""
