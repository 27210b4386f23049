"""One replicate while it trains: the loop, its guided loss, what is measured and reported."""
