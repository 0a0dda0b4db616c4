"""Strangers at the door: other people's clients, and their own test suites, against a running broker."""
