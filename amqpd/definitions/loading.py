"""Definitions at a start: a file, or all files *.json of a directory in the order of their names.

With `skip_if_unchanged` nothing is imported when the contents are those that were loaded last. Their hash is kept in
the catalog, and written when everything has been imported.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.definitions.importing import DefinitionsError, import_definitions, parse
from amqpd.errors import AmqpError

__all__ = ["load"]

log = logging.getLogger("amqpd.definitions")


async def load(broker: Broker, users: UserStore, path: Path, skip_if_unchanged: bool) -> None:
    """Import what lies at this path. Raises DefinitionsError, which names the file."""
    contents = read(path)
    digest = hashlib.sha256(b"".join(len(data).to_bytes(8, "big") + data for data in contents.values())).hexdigest()
    if skip_if_unchanged and broker.global_parameters.get(operations.DEFINITIONS_HASH) == digest:
        log.info("the definitions in %s are those that were loaded last: not loaded again", path)
        return
    for file, data in contents.items():
        log.info("loading definitions from %s", file)
        try:
            await import_definitions(broker, users, parse(data))
        except DefinitionsError as error:
            raise DefinitionsError(f"{file}: {error}") from None
    if skip_if_unchanged:
        await remember(broker, digest)


def read(path: Path) -> dict[Path, bytes]:
    """The files and what is in them. Raises DefinitionsError."""
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        return {file: file.read_bytes() for file in files}
    except OSError as error:
        raise DefinitionsError(f"{path}: {error.strerror or error}") from None


async def remember(broker: Broker, digest: str) -> None:
    written: asyncio.Future[AmqpError | None] = asyncio.get_running_loop().create_future()
    operations.set_global_parameter(broker, operations.DEFINITIONS_HASH, digest, written.set_result)
    error = await written
    if error is not None:
        raise error
