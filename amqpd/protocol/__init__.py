"""AMQP 0-9-1 server conversations, sans-IO: bytes in, bytes out, no socket and no clock."""
