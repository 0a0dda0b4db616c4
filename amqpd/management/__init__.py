"""The control surface: the HTTP API that amqpctl and other tools speak."""
