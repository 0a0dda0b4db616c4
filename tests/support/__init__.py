"""What the black-box test programs share: a broker in a process of its own, figures from /proc, a raw AMQP client."""
