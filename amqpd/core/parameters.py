"""Runtime parameters: settings that are changed while the broker runs, each a JSON value with a component and a name.

A component says which values it takes. Policies, operator policies and the limits of a virtual host are components too,
with operations and commands of their own; those of plugins (shovels, federation) are kept for them, so that definitions
that hold them can be loaded and exported again. Global parameters belong to no virtual host and take any value.

Source: RabbitMQ's rabbit_runtime_parameters, rabbit_parameter_validation, rabbit_vhost_limit.
"""

from __future__ import annotations

from collections.abc import Mapping

from amqpd.core.policy import OPERATOR_POLICY, POLICY, erlang_proplist, erlang_term, read_policy, refused

__all__ = ["COMPONENTS", "LIMITS", "USER_LIMITS", "VHOST_LIMITS", "check_parameter", "wrong_limits"]

VHOST_LIMITS = "vhost-limits"
LIMITS = "limits"
"""The one name that a parameter of the component vhost-limits has."""

LIMIT_NAMES = ("max-connections", "max-queues")
USER_LIMITS = ("max-connections", "max-channels")

KEPT = ("federation-upstream", "federation-upstream-set", "shovel")
"""Components that are kept and looked at by nobody here."""

COMPONENTS = (POLICY, OPERATOR_POLICY, VHOST_LIMITS, *KEPT)


def check_parameter(component: str, name: str, value: object) -> None:
    """Raises PreconditionFailed for a component that does not exist, and for a value that it does not take."""
    if component in (POLICY, OPERATOR_POLICY):
        read_policy(component, name, value)
    elif component == VHOST_LIMITS:
        if name != LIMITS:
            raise refused(f"{component} has no parameter {name}")
        if not isinstance(value, dict):
            raise refused(f"{name} not a list {erlang_term(value)}")
        wrong = wrong_limits(name, value, LIMIT_NAMES)
        if wrong is not None:
            raise refused(wrong)
    elif component not in KEPT:
        raise refused(f"component {component} not found")


def wrong_limits(name: str, limits: Mapping[str, object], allowed: tuple[str, ...]) -> str | None:
    """What is wrong with these limits: one of them is no number, or none of the allowed ones. None: nothing."""
    for key, value in limits.items():
        if key in allowed and (isinstance(value, bool) or not isinstance(value, int)):
            return f"{key} should be a number, actually was {erlang_term(value)}"
    unknown = {key: value for key, value in limits.items() if key not in allowed}
    return f"Unrecognised terms {erlang_proplist(unknown)} in {name}" if unknown else None
