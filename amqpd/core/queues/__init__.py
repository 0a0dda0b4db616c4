"""Queues: their messages, their consumers, and what a channel has not settled yet."""
