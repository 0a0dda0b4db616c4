"""What no single setting can be wrong in: the values that must fit each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqpd.config.settings import Settings

__all__ = ["CHECKS"]


def frame_sizes(settings: Settings) -> Sequence[str]:
    """A frame that is good before the login must be good after it."""
    first, most = settings.integer("initial_frame_max"), settings.integer("frame_max")
    if not most or first <= most:
        return ()
    key = max("initial_frame_max", "frame_max", key=settings.rank)
    return (f"{settings.origin(key)}: {key}: initial_frame_max ({first}) is larger than frame_max ({most})",)


def listeners(settings: Settings) -> Sequence[str]:
    """Two listeners cannot share an address and a port."""
    problems = []
    seen: list[str] = []
    opened = settings.opened()
    for name, (host, port) in opened.items():
        for other in seen:
            its_host, its_port = opened[other]
            if port and port == its_port and (host is None or its_host is None or host == its_host):
                problems.append(f"{settings.origin(name)}: {name}: port {port} is taken by {other} already")
                break
        seen.append(name)
    return problems


def definitions(settings: Settings) -> Sequence[str]:
    """A place to import definitions from is no use without saying that it is one, nor the other way round."""
    backend, path = "definitions.import_backend", "definitions.local.path"
    if settings.is_set(backend) == settings.is_set(path):
        return ()
    given, missing = (backend, path) if settings.is_set(backend) else (path, backend)
    return (f"{settings.origin(given)}: {given}: is set, but {missing} is not",)


CHECKS: tuple[tuple[tuple[str, ...], Callable[[Settings], Sequence[str]]], ...] = (
    (("initial_frame_max", "frame_max"), frame_sizes),
    (("listeners.tcp",), listeners),
    (("definitions",), definitions),
)
"""The keys that a check looks at, or their first words, and the check. It is left out when one is wrong already."""
