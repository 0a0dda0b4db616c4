"""What the operator asked for: rabbitmq.conf files, the environment and the command line, as typed settings."""
