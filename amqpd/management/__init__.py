"""The control surface: RabbitMQ's management HTTP API, served on a unix socket in the data directory for amqpctl."""
