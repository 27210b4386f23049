"""A study's expectations: rules and published numbers of a spec, beside the measured values."""
