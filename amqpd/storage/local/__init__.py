"""The engine that keeps logs in files of this machine."""
