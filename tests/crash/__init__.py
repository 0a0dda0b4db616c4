"""Kill the broker under load, again and again, and account for every confirmed message."""
