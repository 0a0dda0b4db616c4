"""Exchanges: the port that a type implements, the registry, and one file per type."""
