"""What can go wrong with the disk, each with a text for the operator.

StorageError
├── Damage          what was durable cannot be read: says where
├── DirectoryInUse  another process has the data directory
└── NewerSchema     the catalog was written by a newer version
"""

from __future__ import annotations

__all__ = ["Damage", "DirectoryInUse", "NewerSchema", "StorageError"]


class StorageError(Exception):
    """The disk refused: what was not durable by then never will be."""


class Damage(StorageError):
    """The log holds something that no crash leaves behind. `file` and `offset` where they are known."""

    def __init__(self, what: str, file: str = "", offset: int | None = None) -> None:
        where = f"{file}, octet {offset}: " if file else ""
        super().__init__(where + what)
        self.what = what
        self.file = file
        self.offset = offset


class DirectoryInUse(StorageError):
    """A data directory belongs to one process at a time."""


class NewerSchema(StorageError):
    """There is no way back to an older schema."""
