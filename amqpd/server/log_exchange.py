"""The log exchange: what is logged, published to amq.rabbitmq.log with the level as routing key.

A record may come from any thread and from the midst of anything, so it is published by the loop a little later. Source:
RabbitMQ's rabbit_logger_exchange_h.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from amqpd.core.broker import Broker
from amqpd.core.events import say
from amqpd.wire import properties
from amqpd.wire.tables import longstr

__all__ = ["LOG", "LogExchange"]

LOG = "amq.rabbitmq.log"


class LogExchange(logging.Handler):
    """Publishes records to the log exchange of this virtual host."""

    def __init__(self, broker: Broker, vhost: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.broker = broker
        self.vhost = vhost
        self.loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Publish the record soon; while the loop is not there, not at all."""
        text = self.format(record)
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.publish, record.levelname.lower(), text, int(record.created))

    def publish(self, level: str, text: str, seconds: int) -> None:
        props = properties.encode({"content_type": "text/plain", "timestamp": seconds})
        props = properties.rewrite(props, headers={"node": longstr(self.broker.node_name)})
        say(self.broker, self.vhost, LOG, level, props, text.encode("utf-8", "replace"), persistent=False)
