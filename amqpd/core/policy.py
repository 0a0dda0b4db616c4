"""Policies: arguments given to queues and exchanges from outside, by matching their names, and changed while they live.

    policy            at most one counts per object: of those that match, the one with the highest priority
    operator policy   the same, set by whoever runs the broker: it can only make limits tighter
    effective         the two merged: numbers to the smaller, `overflow` and the like to the operator's

A policy that holds a key which the queue's type does not support is not applicable to that queue at all. What the
effective definition means beside a queue's own arguments is worked out in core/promises.

Policies are runtime parameters (see core/parameters) of the components `policy` and `operator_policy`; the JSON value
of one is read and checked here. Of two policies with one priority the first by name counts, where RabbitMQ promises
nothing. The keys of mirrored queues (ha-mode ...) are accepted, as files of RabbitMQ 3 have them, and mean nothing on
one node. Source: RabbitMQ 4.2's rabbit_policy, rabbit_policies, and the queue types' capabilities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from amqpd.core.patterns import compile_pattern
from amqpd.errors import PreconditionFailed
from amqpd.wire.framing import erlang_binary

__all__ = [
    "OPERATOR_POLICY",
    "POLICY",
    "UNTOUCHED",
    "Applied",
    "Policies",
    "Policy",
    "erlang_proplist",
    "erlang_term",
    "merge",
    "read_policy",
    "refused",
]

POLICY = "policy"
OPERATOR_POLICY = "operator_policy"
"""The two components, as RabbitMQ names them."""

Definition: TypeAlias = Mapping[str, Any]
"""Policy key -> JSON value."""


class Policy(NamedTuple):
    """One policy, or operator policy, of a virtual host."""

    name: str
    pattern: str
    apply_to: str
    definition: Definition
    priority: int | float

    def value(self) -> dict[str, object]:
        """The policy as the value of a runtime parameter."""
        return {
            "pattern": self.pattern,
            "apply-to": self.apply_to,
            "definition": dict(self.definition),
            "priority": self.priority,
        }


# --------------------------------------------------------------------------------------------------- the keys

MAX_SEGMENT_SIZE = 3_000_000_000

Check: TypeAlias = Callable[[Any], bool]


def integer(least: int | None, most: int | None = None) -> Check:
    """A whole number from `least` to `most`."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (least is None or value >= least)
            and (most is None or value <= most)
        )

    return check


def text(value: Any) -> bool:
    return isinstance(value, str)


def short_text(value: Any) -> bool:
    """A text that fits a short string."""
    return isinstance(value, str) and len(value.encode("utf-8", "surrogateescape")) <= 255


def anything(value: Any) -> bool:
    return True


def one_of(*values: object) -> Check:
    return lambda value: value in values


def age(value: Any) -> bool:
    match = re.fullmatch("([0-9]+)[YMDhms]", value) if isinstance(value, str) else None
    return match is not None and int(match[1]) > 0


HA_KEYS = (
    "ha-mode",
    "ha-params",
    "ha-promote-on-failure",
    "ha-promote-on-shutdown",
    "ha-sync-batch-size",
    "ha-sync-mode",
)

KEYS: dict[str, tuple[Check, str]] = {
    "alternate-exchange": (text, "alternate exchange name"),
    "consumer-disconnected-timeout": (integer(0), "consumer disconnected timeout"),
    "consumer-timeout": (integer(0), "consumer timeout"),
    "dead-letter-exchange": (text, "dead letter exchange name"),
    "dead-letter-routing-key": (short_text, "dead letter routing key"),
    "dead-letter-strategy": (one_of("at-most-once", "at-least-once"), "dead letter strategy"),
    "delayed-retry-max": (integer(0), "delayed retry max"),
    "delayed-retry-min": (integer(0), "delayed retry min"),
    "delayed-retry-type": (one_of("disabled", "all", "failed", "returned"), "delayed retry type"),
    "delivery-limit": (integer(None), "delivery limit"),
    "expires": (integer(1), "queue expiry"),
    "federation-upstream": (text, "federation upstream name"),
    "federation-upstream-pattern": (text, "federation upstream pattern"),
    "federation-upstream-set": (text, "federation upstream set name"),
    "initial-cluster-size": (integer(0), "cluster size"),
    "max-age": (age, "max age"),
    "max-in-memory-bytes": (integer(0), "maximum memory in bytes"),
    "max-in-memory-length": (integer(0), "maximum memory in bytes"),
    "max-length": (integer(0), "maximum length"),
    "max-length-bytes": (integer(0), "maximum length in bytes"),
    "max-segment-size": (integer(0), "segment size"),
    "message-ttl": (integer(0), "message TTL"),
    "overflow": (one_of("drop-head", "reject-publish", "reject-publish-dlx"), "overflow value"),
    "queue-leader-locator": (
        one_of("client-local", "balanced", "random", "least-leaders"),
        "queue leader locator value",
    ),
    "queue-master-locator": (text, "queue master locator"),
    "queue-mode": (one_of("default", "lazy"), "queue-mode value"),
    "queue-version": (integer(1, 2), "queue version"),
    "stream-filter-size-bytes": (integer(16, 255), "filter size. Valid range is 16-255"),
    "stream-max-segment-size-bytes": (integer(0, MAX_SEGMENT_SIZE), "segment size"),
    "target-group-size": (integer(0), "target group size"),
    **{key: (anything, key) for key in HA_KEYS},
}
"""Policy key -> what its value may be, and what a value that may not be is called."""

OPERATOR_KEYS = (
    "delivery-limit",
    "expires",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "max-length",
    "max-length-bytes",
    "message-ttl",
    "overflow",
    "queue-version",
    "target-group-size",
)
"""Those that an operator policy may hold."""

UNSUPPORTED: dict[str, frozenset[str]] = {
    "classic": frozenset(
        (
            "dead-letter-strategy",
            "delayed-retry-max",
            "delayed-retry-min",
            "delayed-retry-type",
            "delivery-limit",
            "initial-cluster-size",
            "max-age",
            "max-in-memory-bytes",
            "max-in-memory-length",
            "stream-max-segment-size-bytes",
            "target-group-size",
        )
    ),
    "quorum": frozenset(
        ("initial-cluster-size", "max-age", "queue-master-locator", "queue-mode", "stream-max-segment-size-bytes")
    ).union(HA_KEYS),
    "stream": frozenset(
        (
            "dead-letter-exchange",
            "dead-letter-routing-key",
            "dead-letter-strategy",
            "delayed-retry-max",
            "delayed-retry-min",
            "delayed-retry-type",
            "delivery-limit",
            "expires",
            "max-in-memory-bytes",
            "max-in-memory-length",
            "max-length",
            "message-ttl",
            "overflow",
            "queue-master-locator",
            "queue-mode",
            "target-group-size",
        )
    ).union(HA_KEYS),
}
"""Queue type -> keys that make a policy not applicable to queues of this type."""

APPLY_TO: dict[str, frozenset[str]] = {
    "queues": frozenset(UNSUPPORTED),
    "classic_queues": frozenset({"classic"}),
    "quorum_queues": frozenset({"quorum"}),
    "streams": frozenset({"stream"}),
    "exchanges": frozenset({"exchange"}),
    "all": frozenset({*UNSUPPORTED, "exchange"}),
}
"""What a policy is applied to -> the queue types that this is, and "exchange"."""


# -------------------------------------------------------------------------------------------------- reading one


def erlang_term(value: object) -> str:
    """A JSON value as Erlang prints the term that it is there."""
    if isinstance(value, str):
        return erlang_binary(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(map(erlang_term, value)) + "]"
    if isinstance(value, dict):
        return "#{" + ",".join(f"{erlang_term(key)} => {erlang_term(item)}" for key, item in value.items()) + "}"
    return str(value)


def erlang_proplist(definition: Definition) -> str:
    """Keys and values as Erlang prints a property list."""
    return "[" + ",".join(f"{{{erlang_term(key)},{erlang_term(item)}}}" for key, item in definition.items()) + "]"


def refused(why: str) -> PreconditionFailed:
    """The error of a parameter whose value is not valid, in RabbitMQ's words."""
    return PreconditionFailed(f"Validation failed\n\n{why}\n")


def read_policy(component: str, name: str, value: object) -> Policy:
    """The policy that this value of a runtime parameter is. Raises PreconditionFailed."""
    if not isinstance(value, dict):
        raise refused(f"{name} not a list {erlang_term(value)}")
    for key in ("priority", "pattern", "definition"):
        if key not in value:
            raise refused(f'Key "{key}" not found in {name}')
    known = {key: value[key] for key in ("priority", "pattern", "definition")}
    apply_to = value.get("apply-to", "all")
    unknown = {key: item for key, item in value.items() if key not in known and key != "apply-to"}
    if unknown:
        raise refused(f"Unrecognised terms {erlang_proplist(unknown)} in {name}")
    priority, pattern, definition = known.values()
    if isinstance(priority, bool) or not isinstance(priority, int | float):
        raise refused(f"priority should be a number, actually was {erlang_term(priority)}")
    if not isinstance(pattern, str):
        raise refused(f"pattern should be a binary but was {erlang_term(pattern)}")
    try:
        compile_pattern(pattern)
    except PreconditionFailed as error:
        raise refused(f"pattern should be regular expression but is invalid: {error.explanation}") from None
    if not isinstance(apply_to, str) or apply_to not in APPLY_TO:
        shown = apply_to if isinstance(apply_to, str) else erlang_term(apply_to)
        raise refused(
            f"apply-to '{shown}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', "
            "'streams', 'exchanges', or 'all'"
        )
    check_definition(component, definition)
    return Policy(name, pattern, apply_to, definition, priority)


def check_definition(component: str, definition: object) -> None:
    """Raises PreconditionFailed for a definition with nothing in it, with keys or values that are none."""
    if not isinstance(definition, dict):
        raise refused(f"definition must be a dictionary: {erlang_term(definition)}")
    if not definition:
        raise refused("no policy provided")
    allowed = KEYS if component == POLICY else OPERATOR_KEYS
    for key, value in definition.items():
        if key in allowed and not KEYS[key][0](value):
            raise refused(f"{erlang_term(value)} is not a valid {KEYS[key][1]}")
    unknown = {key: value for key, value in definition.items() if key not in allowed}
    if unknown:
        raise refused(f"{erlang_proplist(unknown)} are not recognised policy settings")


# ------------------------------------------------------------------------------------------------------ merging


def delivery_limit(value: int, other: int) -> int:
    """The smaller of two limits; a negative one is none, and having none wins."""
    return max(value, other) if value < 0 or other < 0 else min(value, other)


SMALLER = ("expires", "max-in-memory-bytes", "max-in-memory-length", "max-length", "max-length-bytes", "message-ttl")
MERGES: dict[str, Callable[[Any, Any], Any]] = {"delivery-limit": delivery_limit, **dict.fromkeys(SMALLER, min)}


def merge(policy: Definition, operator: Definition) -> dict[str, Any]:
    """The effective definition of a policy and an operator policy."""
    merged = {**policy, **operator}
    for key in policy.keys() & operator.keys():
        if key in MERGES:
            merged[key] = MERGES[key](policy[key], operator[key])
    return merged


class Applied(NamedTuple):
    """The policies that count for one queue or exchange."""

    policy: Policy | None = None
    operator: Policy | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """What they say together."""
        return merge(
            self.policy.definition if self.policy is not None else {},
            self.operator.definition if self.operator is not None else {},
        )


UNTOUCHED = Applied()
"""No policy at all."""


# ----------------------------------------------------------------------------------------------------- matching


class Candidate(NamedTuple):
    """A policy, ready to be matched."""

    policy: Policy
    regexp: re.Pattern[str]
    kinds: frozenset[str]


def candidate(policy: Policy) -> Candidate:
    applies = APPLY_TO[policy.apply_to]
    kinds = {kind for kind in applies if kind == "exchange" or not UNSUPPORTED[kind] & policy.definition.keys()}
    return Candidate(policy, compile_pattern(policy.pattern), frozenset(kinds))


class Policies:
    """The policies of one virtual host, by component and name."""

    def __init__(self) -> None:
        self.named: dict[str, dict[str, Policy]] = {POLICY: {}, OPERATOR_POLICY: {}}
        self.ranked: dict[str, list[Candidate]] = {POLICY: [], OPERATOR_POLICY: []}

    def put(self, component: str, policy: Policy) -> None:
        """This policy, instead of one with the same name."""
        self.named[component][policy.name] = policy
        self.rank(component)

    def drop(self, component: str, name: str) -> None:
        """No such policy any more."""
        self.named[component].pop(name, None)
        self.rank(component)

    def rank(self, component: str) -> None:
        policies = sorted(self.named[component].values(), key=lambda policy: (-policy.priority, policy.name))
        self.ranked[component] = [candidate(policy) for policy in policies]

    def applied(self, kind: str, name: str) -> Applied:
        """What counts for a queue of this type, or for an "exchange", of this name."""
        if not self.ranked[POLICY] and not self.ranked[OPERATOR_POLICY]:
            return UNTOUCHED
        return Applied(self.first(POLICY, kind, name), self.first(OPERATOR_POLICY, kind, name))

    def first(self, component: str, kind: str, name: str) -> Policy | None:
        for policy, regexp, kinds in self.ranked[component]:
            if kind in kinds and regexp.search(name) is not None:
                return policy
        return None
