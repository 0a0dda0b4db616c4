"""Operations on virtual hosts."""

from __future__ import annotations

from amqpd.core.broker import Broker
from amqpd.core.operations.common import Done, commit
from amqpd.core.ports import Change, VHostRow
from amqpd.core.vhost import VHost
from amqpd.errors import NotFound

__all__ = ["add_vhost", "delete_vhost", "find_vhost"]


def find_vhost(broker: Broker, name: str) -> VHost:
    """Raises NotFound."""
    vhost = broker.vhosts.get(name)
    if vhost is None:
        raise NotFound(f"no vhost '{name}'")
    return vhost


def add_vhost(broker: Broker, row: VHostRow, done: Done[bool]) -> None:
    """Create the virtual host; answers whether it is new."""
    if row.name in broker.vhosts:
        done(False)
        return

    def added() -> bool:
        if row.name in broker.vhosts:
            return False
        broker.add_vhost(row)
        return True

    commit(broker, [Change(True, row)], done, added)


def delete_vhost(broker: Broker, name: str, done: Done[None]) -> None:
    """Delete the virtual host with all that is in it; its connections are closed."""
    vhost = find_vhost(broker, name)
    broker.close_connections(f"vhost '{name}' is deleted", vhost=name)
    vhost.alive = False
    del broker.vhosts[name]
    queues = list(vhost.queues.values())
    for queue in queues:
        queue.close()

    def deleted() -> None:
        for queue in queues:
            queue.farewell()

    commit(broker, [Change(False, vhost.row)], done, deleted)
