"""The journal's format: batches of records, and records that are columns.

A log is a sequence of batches, numbered without a gap. A batch is what becomes durable at once: a head and a body. All
numbers are little-endian.

    head    octets 0  magic "AMQB"
                   4  version (1)
                   5  flags: MORE 1   the group goes on in the next batch
                             REST 2   the group began in the batch before
                             CLEAN 4  the log was closed in order; nothing was under way
                            FOUND 8  the log up to here was found by a start after a crash
                   6  zero, two octets
                   8  epoch          which owner wrote it; 0 where a log can have but one
                  12  records        how many are in the body
                  16  number
                  24  wall clock     of its turn, in milliseconds
                  32  last id        the highest message id given to this log so far, written or not
                  40  length         octets of the body
                  44  checksum       CRC-32 of the body
                  48  head checksum  CRC-32 of octets 0 to 47
    body    records, end to end

Both checksums start from a number that the engine keeps to itself (the salt), so that no publisher can write a message
whose content looks like a batch.

A group (flags MORE and REST) is atomic: the fold applies it when its last batch is there. An incomplete group, which a
crash can leave, is followed by a batch without REST, and thereby void.

Records. The first octet is the kind; an unknown kind is damage.

    1 ENQUEUE   a run of messages with the same routing, origin, priority and queues. A message that goes to many queues
                is stored once.
                kind u8 | columns u8 (DEADLINES 1, FRAMES 2) | priority u8 | zero u8 | routing length u32 |
                queues u32 | messages u32 | origin u64
                queue ids      u64 x queues
                message ids    u64 x messages, ascending
                lengths        u32 x messages     octets of each content
                deadlines      u64 x messages     if DEADLINES; else all are 0
                frames         u32 x messages     if FRAMES: how many frames the content is kept in, 0: in one piece
                frame lengths  u32 x sum(frames)  if FRAMES
                routing        octets
                contents       octets, end to end
    2 SETTLE    consumed     kind u8 | reason u8 | zero u16 | ranges u32 | queue u64
    3 DROP      unconsumed   firsts   u64 x ranges
    4 RETURN    came back    lengths  u32 x ranges
                             counts   u32 x ranges     RETURN only (see core/queues/counts)
                A range of n ids from f is f, f + 2, ... f + 2(n - 1): the lowest bit of an id says persistent, so the
                ids of journalled messages are two apart. `reason` is 0 except in DROP.
    5 MOVE, 6 CHECKPOINT, 7 CONT   reserved: messages carried to the tail, the state of a queue, a part of a content
                that is larger than a batch may be. Not written by this version.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, groupby, pairwise, repeat
from mmap import mmap
from struct import Struct
from struct import error as StructError
from typing import NamedTuple, TypeAlias

from amqpd.core.message import SLICE_MAX, Content, Message
from amqpd.storage.errors import Damage

__all__ = [
    "CLEAN",
    "DROP",
    "FOUND",
    "HEAD_SIZE",
    "MAGIC",
    "MORE",
    "REST",
    "RETURN",
    "SETTLE",
    "Batch",
    "Enqueued",
    "Head",
    "Moved",
    "checksum",
    "encode_enqueue",
    "encode_removed",
    "encode_returned",
    "merged",
    "read_head",
    "records",
    "seal",
]

MAGIC = b"AMQB"
VERSION = 1

MORE = 1
REST = 2
CLEAN = 4
FOUND = 8

ENQUEUE = 1
SETTLE = 2
DROP = 3
RETURN = 4

DEADLINES = 1
FRAMES = 2

HEAD = Struct("<4sBBHIIQQQII")
SEALED_HEAD = Struct("<4sBBHIIQQQIII")
HEAD_SIZE = SEALED_HEAD.size
ENQUEUE_HEAD = Struct("<BBBBIIIQ")
MOVED_HEAD = Struct("<BBHIQ")

U64, U32 = "Q", "I"
OCTETS = {U64: 8, U32: 4}
if array(U64).itemsize != 8 or array(U32).itemsize != 4:
    raise ImportError("this machine's arrays do not have items of 8 and 4 octets")


# -------------------------------------------------------------------------------------------------- batches


class Batch(NamedTuple):
    """A batch without its checksums; the body is in pieces when it is to be written, in one when it was read."""

    number: int
    flags: int
    epoch: int
    clock: int
    last_id: int
    records: int
    chunks: Sequence[bytes]

    @property
    def octets(self) -> int:
        """Its size in the log."""
        return HEAD_SIZE + sum(map(len, self.chunks))


class Head(NamedTuple):
    """A batch's head as it was read, its own checksum verified."""

    flags: int
    epoch: int
    records: int
    number: int
    clock: int
    last_id: int
    length: int
    checksum: int

    def batch(self, body: bytes) -> Batch:
        return Batch(self.number, self.flags, self.epoch, self.clock, self.last_id, self.records, (body,))


def checksum(chunks: Iterable[bytes], salt: int) -> int:
    """CRC-32 over all chunks, from the salt on."""
    for chunk in chunks:
        salt = zlib.crc32(chunk, salt)
    return salt


def seal(batch: Batch, salt: int) -> bytes:
    """The head with its checksums. It reads the whole body: not for the loop's thread."""
    number, flags, epoch, clock, last_id, count, chunks = batch
    length = sum(map(len, chunks))
    body = checksum(chunks, salt)
    head = HEAD.pack(MAGIC, VERSION, flags, 0, epoch, count, number, clock, last_id, length, body)
    return head + zlib.crc32(head, salt).to_bytes(4, "little")


def read_head(data: bytes | mmap, offset: int, salt: int) -> Head | None:
    """The head that stands there; None if none does."""
    if len(data) - offset < HEAD_SIZE:
        return None
    magic, version, flags, _, *fields, found = SEALED_HEAD.unpack_from(data, offset)
    if magic != MAGIC or zlib.crc32(data[offset : offset + HEAD.size], salt) != found:
        return None
    if version != VERSION:
        raise Damage(f"a batch of version {version}, which this program does not know")
    epoch, count, number, clock, last_id, length, body = fields
    return Head(flags, epoch, count, number, clock, last_id, length, body)


# ------------------------------------------------------------------------------------------------- encoding


def column(typecode: str, values: Iterable[int]) -> bytes:
    """The numbers end to end."""
    items = array(typecode, values)
    if sys.byteorder == "big":
        items.byteswap()
    return items.tobytes()


def encode_enqueue(messages: Sequence[Message], queues: Sequence[int], priority: int) -> list[bytes]:
    """One ENQUEUE run as chunks; large contents stay the chunks that they are."""
    first, routing, content, origin, deadline = messages[0]
    if len(messages) == 1 and not deadline and isinstance(content, bytes):
        head = ENQUEUE_HEAD.pack(ENQUEUE, 0, priority, 0, len(routing), len(queues), 1, origin)
        return [b"".join((head, single(len(queues)).pack(*queues, first, len(content)), routing, content))]
    ids = [message[0] for message in messages]
    contents = [message[2] for message in messages]
    deadlines = [message[4] for message in messages]
    columns = DEADLINES if any(deadlines) else 0
    in_one_piece = [content for content in contents if isinstance(content, bytes)]
    frames: list[int] = []
    frame_lengths: list[int] = []
    if len(in_one_piece) == len(contents):
        lengths = list(map(len, in_one_piece))
        stored = [b"".join(in_one_piece)]
    else:
        columns |= FRAMES
        lengths = list(map(content_octets, contents))
        stored = list(chain.from_iterable(map(as_frames, contents)))
        for content in contents:
            kept = content if isinstance(content, tuple) else ()
            frames.append(len(kept))
            frame_lengths += map(len, kept)
    pieces = [
        ENQUEUE_HEAD.pack(ENQUEUE, columns, priority, 0, len(routing), len(queues), len(ids), origin),
        column(U64, queues),
        column(U64, ids),
        column(U32, lengths),
    ]
    if columns & DEADLINES:
        pieces.append(column(U64, deadlines))
    if columns & FRAMES:
        pieces += (column(U32, frames), column(U32, frame_lengths))
    pieces.append(routing)
    return [b"".join(pieces), *stored]


@lru_cache
def single(queues: int) -> Struct:
    """The columns of a run of one message in one piece: most runs, where routing keys change all the time."""
    return Struct(f"<{queues}QQI")


def merged(chunks: Sequence[bytes]) -> list[bytes]:
    """The same octets in fewer chunks: small neighbours are joined, large contents stay as they are."""
    pieces: list[bytes] = []
    for large, some in groupby(chunks, key=lambda chunk: len(chunk) >= SLICE_MAX):
        if large:
            pieces += some
        else:
            pieces.append(b"".join(some))
    return pieces


def as_frames(content: Content) -> Sequence[bytes]:
    return content if isinstance(content, tuple) else (content,)


def content_octets(content: Content) -> int:
    """The size of a content, however it is kept."""
    return sum(map(len, content)) if isinstance(content, tuple) else len(content)


def encode_removed(kind: int, queue: int, ids: Sequence[int], reason: int = 0) -> bytes:
    """SETTLE or DROP of these ids, which ascend."""
    first, count = ids[0], len(ids)
    whole = range(first, first + 2 * count, 2)
    if ids[-1] == whole[-1] and list(whole) == ids:
        return MOVED_HEAD.pack(kind, reason, 0, 1, queue) + column(U64, (first,)) + column(U32, (count,))
    firsts, lengths = [first], [1]
    due = first + 2
    for message_id in ids[1:]:
        if message_id == due:
            lengths[-1] += 1
        else:
            firsts.append(message_id)
            lengths.append(1)
        due = message_id + 2
    return MOVED_HEAD.pack(kind, reason, 0, len(firsts), queue) + column(U64, firsts) + column(U32, lengths)


def encode_returned(queue: int, returns: Sequence[tuple[int, int]]) -> bytes:
    """RETURN of these (id, count), in this order."""
    firsts: list[int] = []
    lengths: list[int] = []
    counts: list[int] = []
    due = -1
    for message_id, count in returns:
        if message_id == due and count == counts[-1]:
            lengths[-1] += 1
        else:
            firsts.append(message_id)
            lengths.append(1)
            counts.append(count)
        due = message_id + 2
    head = MOVED_HEAD.pack(RETURN, 0, 0, len(firsts), queue)
    return head + column(U64, firsts) + column(U32, lengths) + column(U32, counts)


# ------------------------------------------------------------------------------------------------- decoding


class Enqueued(NamedTuple):
    """An ENQUEUE run."""

    queues: Sequence[int]
    ids: Sequence[int]
    messages: Sequence[Message]
    priority: int


class Moved(NamedTuple):
    """SETTLE, DROP or RETURN: ranges of ids, each with a count (0 except in RETURN)."""

    kind: int
    reason: int
    queue: int
    ranges: Sequence[tuple[range, int]]


Record: TypeAlias = Enqueued | Moved


def records(batch: Batch) -> Iterator[Record]:
    """What the batch, which was read, says."""
    (body,) = batch.chunks
    offset = 0
    try:
        for _ in range(batch.records):
            kind = body[offset]
            if kind == ENQUEUE:
                record, offset = decode_enqueue(body, offset)
                yield record
            elif kind in (SETTLE, DROP, RETURN):
                moved, offset = decode_moved(body, offset)
                yield moved
            else:
                raise Damage(f"batch {batch.number} holds a record of unknown kind {kind}")
    except (StructError, IndexError, ValueError) as error:
        raise Damage(f"batch {batch.number} cannot be read from octet {offset} of its body on: {error}") from error
    if offset != len(body):
        raise Damage(f"batch {batch.number} does not end where its body ends")


def read_column(typecode: str, body: bytes, offset: int, count: int) -> tuple[array[int], int]:
    """`count` numbers, and where they end."""
    end = offset + count * OCTETS[typecode]
    if end > len(body):
        raise ValueError("a column is longer than the body")
    items = array(typecode)
    items.frombytes(body[offset:end])
    if sys.byteorder == "big":
        items.byteswap()
    return items, end


def decode_enqueue(body: bytes, offset: int) -> tuple[Enqueued, int]:
    _, columns, priority, _, routing_length, targets, count, origin = ENQUEUE_HEAD.unpack_from(body, offset)
    offset += ENQUEUE_HEAD.size
    if count == 1 and not columns:
        layout = single(targets)
        *to, first, length = layout.unpack_from(body, offset)
        start = offset + layout.size + routing_length
        if start + length > len(body):
            raise ValueError("the content is longer than the body")
        message = first, body[offset + layout.size : start], body[start : start + length], origin, 0
        return Enqueued(to, (first,), (message,), priority), start + length
    queues, offset = read_column(U64, body, offset, targets)
    ids, offset = read_column(U64, body, offset, count)
    lengths, offset = read_column(U32, body, offset, count)
    deadlines: Iterable[int] = repeat(0, count)
    frames = frame_lengths = array(U32)
    if columns & DEADLINES:
        deadlines, offset = read_column(U64, body, offset, count)
    if columns & FRAMES:
        frames, offset = read_column(U32, body, offset, count)
        frame_lengths, offset = read_column(U32, body, offset, sum(frames))
    routing = body[offset : offset + routing_length]
    ends = list(accumulate(lengths, initial=offset + routing_length))
    if ends[-1] > len(body):
        raise ValueError("the contents are longer than the body")
    contents: list[Content] = [body[start:end] for start, end in pairwise(ends)]
    if columns & FRAMES:
        contents = list(framed(contents, frames, frame_lengths))
    messages = list(zip(ids, repeat(routing), contents, repeat(origin), deadlines, strict=False))
    return Enqueued(queues, ids, messages, priority), ends[-1]


def framed(contents: Iterable[Content], frames: Iterable[int], lengths: Iterable[int]) -> Iterator[Content]:
    """The contents, those that were kept as frames again so."""
    sizes = iter(lengths)
    for content, count in zip(contents, frames, strict=True):
        if count and isinstance(content, bytes):
            ends = accumulate((next(sizes) for _ in range(count)), initial=0)
            yield tuple(content[start:end] for start, end in pairwise(ends))
        else:
            yield content


def decode_moved(body: bytes, offset: int) -> tuple[Moved, int]:
    kind, reason, _, count, queue = MOVED_HEAD.unpack_from(body, offset)
    firsts, offset = read_column(U64, body, offset + MOVED_HEAD.size, count)
    lengths, offset = read_column(U32, body, offset, count)
    counts: Iterable[int] = repeat(0)
    if kind == RETURN:
        counts, offset = read_column(U32, body, offset, count)
    ranges = [
        (range(first, first + 2 * length, 2), delivered)
        for first, length, delivered in zip(firsts, lengths, counts, strict=False)
    ]
    return Moved(kind, reason, queue, ranges), offset
