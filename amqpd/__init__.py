"""amqpd: an AMQP 0-9-1 broker in Python, a drop-in for RabbitMQ."""

__version__ = "0.1.0"
