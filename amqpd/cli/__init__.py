"""The commands: `amqpd` starts a broker, `amqpctl` talks to a running one."""
