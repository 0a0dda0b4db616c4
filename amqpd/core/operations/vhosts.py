"""Operations on virtual hosts."""

from __future__ import annotations

from amqpd.core.broker import Broker
from amqpd.core.operations.common import Done, commit
from amqpd.core.ports import Change, VHostRow
from amqpd.core.vhost import VHost
from amqpd.errors import AmqpError, NotFound, PreconditionFailed

__all__ = ["delete_vhost", "find_vhost", "put_vhost"]

QUEUE_TYPES = ("", "classic", "quorum", "stream")


class ProtectedFromDeletion(PreconditionFailed):
    """A virtual host that has to lose its protection before it can be deleted."""

    http_status = 412


def find_vhost(broker: Broker, name: str) -> VHost:
    """Raises NotFound."""
    vhost = broker.vhosts.get(name)
    if vhost is None:
        raise NotFound(f"no vhost '{name}'")
    return vhost


def put_vhost(broker: Broker, row: VHostRow, done: Done[bool]) -> None:
    """Create the virtual host, or give the one of this name this metadata; answers whether it is new.

    A new one is filled with what the node gives to all (see `Broker.fill_vhost`) before that is answered.

    Raises PreconditionFailed for a default queue type that does not exist.
    """
    if row.default_queue_type not in QUEUE_TYPES:
        raise PreconditionFailed(f"Unsupported default queue type '{row.default_queue_type}'")
    known = broker.vhosts.get(row.name)
    if known is not None and known.row == row:
        done(False)
        return

    def stored() -> bool:
        if known is not None and not known.alive:
            raise NotFound(f"no vhost '{row.name}'")
        vhost = broker.vhosts.get(row.name)
        if vhost is None:
            broker.add_vhost(row)
            about = {"name": row.name, "description": row.description, "tags": row.tags}
            broker.emit("vhost.created", about)
            return True
        before, vhost.row = vhost.row, row
        if before.tracing != row.tracing:
            broker.tracing_changed(vhost)
        return False

    def finished(outcome: bool | AmqpError) -> None:
        if outcome is True:
            broker.fill_vhost(broker.vhosts[row.name], lambda: done(True))
        else:
            done(outcome)

    commit(broker, [Change(True, row)], finished, stored)


def delete_vhost(broker: Broker, name: str, done: Done[None]) -> None:
    """Delete the virtual host with all that is in it; its connections are closed.

    Raises NotFound, PreconditionFailed for one that is protected.
    """
    vhost = find_vhost(broker, name)
    if vhost.row.protected_from_deletion:
        raise ProtectedFromDeletion(f"Refusing to delete virtual host '{name}' because it is protected from deletion")
    broker.close_connections(f"vhost '{name}' is deleted", vhost=name)
    vhost.alive = False
    del broker.vhosts[name]
    broker.emit("vhost.deleted", {"name": name})
    for listener in broker.vhost_listeners:
        listener(name)
    queues = list(vhost.queues.values())
    for queue in queues:
        queue.close()
    for delays in vhost.delays.values():
        delays.close()

    def deleted() -> None:
        for queue in queues:
            queue.farewell()

    commit(broker, [Change(False, vhost.row)], done, deleted)
