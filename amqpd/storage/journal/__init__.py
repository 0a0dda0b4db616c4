"""The log of what happens to durable messages: its format, its fold, and the batches that grow, fly and commit."""
