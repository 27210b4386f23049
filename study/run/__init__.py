"""One run of a study: scheduling, comparisons, interruptions, status."""
