"""Studies that ship with archprior."""
