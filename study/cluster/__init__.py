"""A study on a Ray cluster from outside: submitted as a job, followed, stopped; a doctor's look."""
