"""A segment: one file of a log, a head and then batches.

    head    octets 0  magic "AMQS"
                   4  version (1), zero, three octets
                   8  salt           a random number from which the checksums of this file start
                  12  zero, four octets
                  16  first batch    the number of the batch that follows
                  24  last id        the highest message id given before
                  32  checksum       CRC-32 of octets 0 to 31

A file is named by a count, `00000001.log`. It gets its name when its head is durable, and the name is durable before
anything is written into it. It is not allocated ahead: measured on ext4, that gains nothing unless the blocks are
written twice, and with it the end of the file would not be the end of the log.
"""

from __future__ import annotations

import os
import zlib
from itertools import pairwise
from pathlib import Path
from struct import Struct

from amqpd.storage.errors import Damage
from amqpd.storage.local.os import sync_data, sync_directory, write_all

__all__ = ["SEGMENT_HEAD_SIZE", "Segment", "create", "list_segments", "open_segment"]

MAGIC = b"AMQS"
VERSION = 1
HEAD = Struct("<4sB3sIIQQ")
SEGMENT_HEAD_SIZE = HEAD.size + 4


class Segment:
    """What is known of a segment. `size` is that of its good content."""

    __slots__ = ("first_batch", "last_id", "path", "salt", "size")

    def __init__(self, path: Path, first_batch: int, last_id: int, salt: int) -> None:
        self.path = path
        self.first_batch = first_batch
        self.last_id = last_id
        self.salt = salt
        self.size = SEGMENT_HEAD_SIZE

    @property
    def count(self) -> int:
        """Its place among the log's files."""
        return int(self.path.stem)


def create(directory: Path, count: int, first_batch: int, last_id: int) -> Segment:
    """A new segment; a crash leaves all of it or a file that the next start removes."""
    salt = int.from_bytes(os.urandom(4), "little")
    head = HEAD.pack(MAGIC, VERSION, b"", salt, 0, first_batch, last_id)
    path = directory / f"{count:08d}.log"
    draft = path.with_suffix(".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o640)
    try:
        write_all(fd, [head + zlib.crc32(head).to_bytes(4, "little")])
        sync_data(fd)
    finally:
        os.close(fd)
    os.replace(draft, path)
    sync_directory(directory)
    return Segment(path, first_batch, last_id, salt)


def open_segment(path: Path, head: bytes) -> Segment:
    """The segment whose file begins with these octets."""
    if len(head) < SEGMENT_HEAD_SIZE:
        raise Damage("the file is too short for a segment", str(path), len(head))
    magic, version, _, salt, _, first_batch, last_id = HEAD.unpack_from(head)
    if magic != MAGIC or zlib.crc32(head[: HEAD.size]) != int.from_bytes(head[HEAD.size : SEGMENT_HEAD_SIZE], "little"):
        raise Damage("this is no head of a segment", str(path), 0)
    if version != VERSION:
        raise Damage(f"a segment of version {version}, which this program does not know", str(path), 4)
    return Segment(path, first_batch, last_id, salt)


def list_segments(directory: Path) -> list[Path]:
    """The log's files in order. Drafts that a crash left are removed."""
    for draft in directory.glob("*.new"):
        draft.unlink()
    paths = sorted(directory.glob("*.log"), key=lambda path: int(path.stem))
    for before, after in pairwise(paths):
        if int(after.stem) != int(before.stem) + 1:
            raise Damage(f"the file before it is missing (there is {before.name})", str(after), 0)
    return paths
