"""Bytes to values and back: frames, methods, properties, tables. No state, no broker."""
