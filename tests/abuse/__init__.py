"""Thousands of malformed conversations against a live broker, beside a well-behaved neighbour."""
