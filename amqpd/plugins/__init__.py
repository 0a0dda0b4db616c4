"""Plugins: packages that are installed beside amqpd and add to it through entry points.

An exchange type is an entry point of the group `amqpd.exchange_types`: its name is the type's, its object a class that
does what ExchangeType says. conf/plugins/round_robin is a whole one. What plugins import is here; amqpd.wire.properties
and amqpd.wire.tables read messages.
"""

from __future__ import annotations

from amqpd.core.exchanges.base import Binding, Depends, Destination, ExchangeType, Remembering, Witness
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table

__all__ = [
    "Binding",
    "Depends",
    "Destination",
    "ExchangeType",
    "PreconditionFailed",
    "Remembering",
    "Table",
    "Witness",
]
