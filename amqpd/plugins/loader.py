"""Finding and loading plugins, once per start.

What is wrong with one plugin is said in one line of the log, with what to do about it, and costs nobody else anything:
it is left out, and the broker starts. What a plugin's constructor raises later, for the arguments of an exchange, is
told to whoever declares it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from amqpd.core.exchanges.base import TYPES, ExchangeType, Factory
from amqpd.errors import AmqpError, PreconditionFailed
from amqpd.wire.tables import Table

__all__ = ["EXCHANGE_TYPES", "Plugins", "load"]

log = logging.getLogger("amqpd.plugins")

EXCHANGE_TYPES = "amqpd.exchange_types"
"""The group of entry points that are exchange types."""

METHODS = ("check_binding", "bind", "unbind", "route")


class Unfit(Exception):
    """The plugin cannot be used; the text says why and what to do."""


class Plugins(NamedTuple):
    """What was loaded: exchange types by name, and the packages that brought something."""

    exchange_types: dict[str, Factory]
    names: tuple[str, ...]


def load(points: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load all plugins that are installed, or those that `points` name."""
    types: dict[str, Factory] = {}
    names: dict[str, None] = {}
    for point in sorted(installed() if points is None else points, key=lambda point: (point.name, package(point))):
        origin = package(point)
        try:
            if point.name in types:
                raise Unfit(f"another plugin has an exchange type '{point.name}' too; uninstall one of them")
            types[point.name] = exchange_type(point)
        except Unfit as error:
            log.error("plugin %s is not used: %s", origin, error)
        else:
            names[origin] = None
            log.info("plugin %s adds the exchange type '%s'", origin, point.name)
    return Plugins(types, tuple(names))


def installed() -> Iterable[EntryPoint]:
    """The entry points of all packages that can be imported."""
    try:
        return entry_points(group=EXCHANGE_TYPES)
    except Exception as error:
        log.error(
            "no plugin is used: the metadata of an installed package cannot be read (%s: %s); see `pip check`",
            type(error).__name__,
            error,
        )
        return ()


def package(point: EntryPoint) -> str:
    """The name and version of the package that an entry point is from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def exchange_type(point: EntryPoint) -> Factory:
    """What the entry point names, as a factory. Raises Unfit when it is no exchange type that can be added."""
    if point.name in TYPES:
        raise Unfit(
            f"amqpd has an exchange type '{point.name}' of its own; rename the plugin's or uninstall the package"
        )
    failed = f"its exchange type '{point.name}' cannot be loaded from {point.value}"
    advice = "install a version that works or uninstall the package"
    try:
        found: Any = point.load()
    except (Exception, SystemExit) as error:
        raise Unfit(f"{failed} ({type(error).__name__}: {error}); {advice}") from error
    if not isinstance(found, type):
        raise Unfit(f"{failed}: it is no class; {advice}")
    lacking = [name for name in (*METHODS, "depends") if not hasattr(found, name)]
    if lacking:
        raise Unfit(f"{failed}: the class has no {' and no '.join(lacking)}; {advice}")

    def make(arguments: Table) -> ExchangeType:
        try:
            made: ExchangeType = found(arguments)
        except AmqpError:
            raise
        except Exception as error:
            log.exception("plugin %s failed with the arguments of an exchange", package(point))
            raise PreconditionFailed(f"exchange type '{point.name}' does not take these arguments") from error
        return made

    return make
