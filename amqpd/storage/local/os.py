"""What differs between operating systems about writing to files for good."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["sync_data", "sync_directory", "write_all"]

PIECES_MAX = 512
"""Pieces per writev; POSIX promises 16, Linux and macOS take 1024."""

if sys.platform == "darwin":
    import fcntl

    def sync_data(fd: int) -> None:
        """Put the file's content on the medium. fsync of macOS stops at the drive's cache."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

elif hasattr(os, "fdatasync"):

    def sync_data(fd: int) -> None:
        """Put the file's content, and the size it needs, on the medium."""
        os.fdatasync(fd)

else:

    def sync_data(fd: int) -> None:
        """Put the file on the medium."""
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Put the names in the directory on the medium: a file that is not named there does not exist after a crash."""
    if os.name == "nt":
        return  # a directory cannot be opened there
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, pieces: Sequence[bytes]) -> None:
    """Write the pieces end to end at the file's position."""
    for start in range(0, len(pieces), PIECES_MAX):
        some: Sequence[bytes | memoryview] = pieces[start : start + PIECES_MAX]
        if not hasattr(os, "writev"):
            some = [b"".join(some)]
        while some:
            written = os.writev(fd, some) if hasattr(os, "writev") else os.write(fd, some[0])
            some = remainder(some, written)


def remainder(pieces: Sequence[bytes | memoryview], written: int) -> Sequence[bytes | memoryview]:
    """The pieces without their first `written` octets."""
    for at, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[at + 1 :]]
        written -= len(piece)
    return ()
