"""The control socket: there from the start, in the data directory; what serves it is loaded when it is first asked for.

The HTTP libraries take 15 MB and a tenth of a second, which a node that nobody asks anything is spared. They load in a
thread, so clients notice nothing; who asks first waits in the socket's queue meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

__all__ = ["ControlSocket", "Served", "bound_socket"]

log = logging.getLogger("amqpd.management")

BACKLOG = 128


class Served(Protocol):
    """What serves the socket."""

    async def stop(self) -> None: ...


class ControlSocket:
    """The socket at `path`, from `open` to `close`; `serve` takes it over when someone is there."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], Awaitable[Served]]) -> None:
        self.path = path
        self.serve = serve
        self.socket: socket.socket | None = None
        self.serving: asyncio.Task[Served] | None = None

    def open(self) -> None:
        """Raises OSError when the socket cannot be made."""
        self.socket = bound_socket(self.path)
        self.socket.listen(BACKLOG)
        self.socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self.asked)

    def asked(self) -> None:
        """Someone has connected."""
        assert self.socket is not None
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self.serving = asyncio.ensure_future(self.serve(self.socket))
        self.serving.add_done_callback(self.loaded)

    def loaded(self, serving: asyncio.Task[Served]) -> None:
        error = serving.exception()
        if error is not None:
            log.error(
                "amqpctl cannot be answered, because the control surface does not load (%s): "
                "repair the installation and restart the node",
                error,
            )

    async def close(self) -> None:
        """No more requests; those under way are answered first."""
        if self.socket is None:
            return
        if self.serving is None:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
        else:
            await asyncio.wait([self.serving])
            if self.serving.exception() is None:
                await self.serving.result().stop()
        self.socket.close()
        self.path.unlink(missing_ok=True)


def bound_socket(path: Path) -> socket.socket:
    """A socket at this path that only its owner can open, from its first moment on.

    The data directory is ours alone, so a socket that lies there is left from a crash. Raises OSError.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        control.bind(str(path))
    except OSError as error:
        control.close()
        raise OSError(error.errno, f"the control socket cannot be made: {error}", str(path)) from error
    finally:
        os.umask(before)
    return control
