"""Several workers that train one replicate as one process would."""
