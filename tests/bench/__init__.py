"""The benchmark: raw-socket load against amqpd and other brokers, and programs that look at amqpd alone."""
