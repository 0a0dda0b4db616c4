"""Operations on runtime parameters: policies, the limits of virtual hosts, and all others.

A policy that comes, changes or goes is applied to the queues and exchanges of its virtual host before the operation is
answered: in slices of the turn, so that a virtual host with very many of them holds up nobody.

Source: RabbitMQ's rabbit_runtime_parameters, rabbit_policy, rabbit_vhost_limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice

from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import Exchange
from amqpd.core.operations.common import Done, commit
from amqpd.core.parameters import LIMITS, VHOST_LIMITS, check_parameter
from amqpd.core.policy import OPERATOR_POLICY, POLICY
from amqpd.core.ports import Change, GlobalParameterRow, ParameterRow
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.errors import AmqpError, NotFound, PreconditionFailed

__all__ = [
    "DEFINITIONS_HASH",
    "clear_global_parameter",
    "clear_parameter",
    "clear_policy",
    "clear_vhost_limits",
    "list_global_parameters",
    "set_global_parameter",
    "set_parameter",
    "set_policy",
    "set_vhost_limits",
]

SLICE = 250
"""Queues and exchanges to which policies are applied in one go."""

DEFINITIONS_HASH = "imported_definition_hash_value"
"""The global parameter that nobody is shown: the hash of the definitions that were loaded at a start."""


# ------------------------------------------------------------------------------------------------------ writing


def put(broker: Broker, vhost: VHost, component: str, name: str, value: object, done: Done[None]) -> None:
    """Write a parameter that has been checked; one that is as it was changes nothing."""
    if name in vhost.parameters.get(component, ()) and vhost.parameters[component][name] == value:
        done(None)
        return
    row = ParameterRow(vhost.name, component, name, json.dumps(value, separators=(",", ":")))
    write(broker, vhost, Change(True, row), done, lambda: vhost.put_parameter(component, name, value))


def drop(broker: Broker, vhost: VHost, component: str, name: str, done: Done[None]) -> None:
    """Take a parameter away. Raises NotFound when there is none."""
    if name not in vhost.parameters.get(component, ()):
        raise NotFound("Parameter does not exist")
    row = ParameterRow(vhost.name, component, name, "")
    write(broker, vhost, Change(False, row), done, lambda: vhost.drop_parameter(component, name))


def write(broker: Broker, vhost: VHost, change: Change, done: Done[None], then: Callable[[], None]) -> None:
    def changed() -> None:
        if not vhost.alive:
            raise NotFound(f"no vhost '{vhost.name}'")
        then()
        if isinstance(change.row, ParameterRow):
            tell(broker, change.row, change.put)

    def written(outcome: AmqpError | None) -> None:
        if outcome is None and isinstance(change.row, ParameterRow) and change.row.component in vhost.policies.named:
            apply_policies(broker, vhost, done)
        else:
            done(outcome)

    commit(broker, [change], written, changed)


def tell(broker: Broker, row: ParameterRow, put: bool) -> None:
    """The event of a parameter that has come, changed or gone."""
    about = {"name": row.name, "vhost": row.vhost}
    value = json.loads(row.value) if put else {}
    if row.component in (POLICY, OPERATOR_POLICY):
        broker.emit("policy.set" if put else "policy.cleared", {**about, **value})
    elif row.component == VHOST_LIMITS:
        broker.emit("vhost.limits.set" if put else "vhost.limits.cleared", {**about, **value})
    else:
        about["component"] = row.component
        broker.emit("parameter.set" if put else "parameter.cleared", {**about, "value": value} if put else about)


class Application:
    """The policies of a virtual host on their way over its queues and exchanges: work for turns (`turn.Ready`).

    What is declared meanwhile has the new policies already; a second change meanwhile starts an application of its own,
    which comes after this one.
    """

    def __init__(self, vhost: VHost, done: Done[None]) -> None:
        self.vhost = vhost
        self.done = done
        self.scheduled = False
        targets: list[Queue | Exchange] = [*vhost.exchanges.values(), *vhost.queues.values()]
        self.left = iter(targets)

    def dispatch(self, budget: int) -> bool:
        """Go on with at most `budget` of them; True when there are more."""
        some = list(islice(self.left, min(budget, SLICE)))
        for target in some:
            if target.alive:
                self.vhost.apply_policies(target)
        if some:
            return True
        self.done(None)
        return False


def apply_policies(broker: Broker, vhost: VHost, done: Done[None]) -> None:
    application = Application(vhost, done)
    if len(vhost.exchanges) + len(vhost.queues) > SLICE:
        broker.turn.wake(application)
        return
    while application.dispatch(SLICE):
        pass


# ----------------------------------------------------------------------------------------------------- policies


def set_policy(
    broker: Broker,
    vhost: VHost,
    name: str,
    *,
    pattern: object,
    definition: object,
    priority: object = 0,
    apply_to: object = "all",
    operator: bool = False,
    done: Done[None],
) -> None:
    """This policy or operator policy, instead of one with the same name. Raises PreconditionFailed."""
    component = OPERATOR_POLICY if operator else POLICY
    value = {"pattern": pattern, "definition": definition, "priority": priority, "apply-to": apply_to}
    check_parameter(component, name, value)
    put(broker, vhost, component, name, value, done)


def clear_policy(broker: Broker, vhost: VHost, name: str, *, operator: bool = False, done: Done[None]) -> None:
    """No such policy any more. Raises NotFound when there is none."""
    drop(broker, vhost, OPERATOR_POLICY if operator else POLICY, name, done)


# --------------------------------------------------------------------------------------------- all parameters


def set_parameter(broker: Broker, vhost: VHost, component: str, name: str, value: object, done: Done[None]) -> None:
    """This value of a component's parameter. Raises PreconditionFailed for a policy, which has its own operation, and
    for what the component does not take."""
    if component == POLICY:
        raise PreconditionFailed("policies may not be set using this method")
    check_parameter(component, name, value)
    put(broker, vhost, component, name, value, done)


def clear_parameter(broker: Broker, vhost: VHost, component: str, name: str, done: Done[None]) -> None:
    """No such parameter any more. Raises NotFound when there is none, PreconditionFailed for a policy."""
    if component == POLICY:
        raise PreconditionFailed("policies may not be cleared using this method")
    drop(broker, vhost, component, name, done)


def set_vhost_limits(broker: Broker, vhost: VHost, limits: dict[str, object], done: Done[None]) -> None:
    """These limits instead of those it had: "max-connections", "max-queues"; a negative number is no limit.

    Raises PreconditionFailed.
    """
    set_parameter(broker, vhost, VHOST_LIMITS, LIMITS, limits, done)


def clear_vhost_limits(broker: Broker, vhost: VHost, done: Done[None]) -> None:
    """No limits any more. Raises NotFound when there are none."""
    drop(broker, vhost, VHOST_LIMITS, LIMITS, done)


def list_global_parameters(broker: Broker) -> dict[str, object]:
    """The global parameters that are for others to see."""
    return {name: value for name, value in broker.global_parameters.items() if name != DEFINITIONS_HASH}


def set_global_parameter(broker: Broker, name: str, value: object, done: Done[None]) -> None:
    """This value of a parameter that belongs to no virtual host."""
    row = GlobalParameterRow(name, json.dumps(value, separators=(",", ":")))
    commit(broker, [Change(True, row)], done, lambda: broker.global_parameters.update({name: value}))


def clear_global_parameter(broker: Broker, name: str, done: Done[None]) -> None:
    """No such parameter any more. Raises NotFound when there is none."""
    if name not in broker.global_parameters:
        raise NotFound("Parameter does not exist")

    def cleared() -> None:
        broker.global_parameters.pop(name, None)

    commit(broker, [Change(False, GlobalParameterRow(name, ""))], done, cleared)
