"""The journal's format: what is written is read, in columns and by itself, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.core.message import Content, Message
from amqpd.storage.errors import Damage
from amqpd.storage.journal.format import (
    CLEAN,
    DROP,
    HEAD_SIZE,
    MORE,
    RETURN,
    SETTLE,
    Batch,
    Enqueued,
    Moved,
    encode_enqueue,
    encode_removed,
    encode_returned,
    merged,
    read_head,
    records,
    seal,
)

U64 = st.integers(0, 2**64 - 1)
IDS = st.lists(st.integers(1, 2**62), min_size=1, max_size=40, unique=True).map(sorted)
CLOSE_IDS = st.lists(st.integers(1, 60), min_size=1, max_size=40, unique=True).map(sorted)
CONTENT: st.SearchStrategy[Content] = st.binary(max_size=50) | st.lists(
    st.binary(max_size=20), min_size=1, max_size=5
).map(tuple)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Message], list[int], int]:
    ids = draw(IDS)
    routing, origin = draw(st.binary(min_size=2, max_size=512)), draw(st.integers(0, 2**48))
    deadlines = draw(st.sampled_from([st.just(0), st.integers(0, 2**62)]))
    contents = draw(st.sampled_from([st.binary(max_size=50), CONTENT]))
    messages = [(i, routing, draw(contents), origin, draw(deadlines)) for i in ids]
    return messages, draw(st.lists(U64, min_size=1, max_size=5, unique=True)), draw(st.integers(0, 255))


def batch_of(*pieces: bytes, count: int = 1) -> Batch:
    return Batch(1, 0, 0, 0, 0, count, (b"".join(pieces),))


@given(st.lists(runs(), min_size=1, max_size=4))
def test_runs_come_back_as_they_were(given_runs: list[tuple[list[Message], list[int], int]]) -> None:
    pieces = [chunk for run in given_runs for chunk in encode_enqueue(*run)]
    found = list(records(batch_of(*pieces, count=len(given_runs))))
    assert len(found) == len(given_runs)
    for record, (messages, queues, priority) in zip(found, given_runs, strict=True):
        assert isinstance(record, Enqueued)
        assert list(record.messages) == messages
        assert all(type(a[2]) is type(b[2]) for a, b in zip(record.messages, messages, strict=True))
        assert list(record.ids) == [message[0] for message in messages]
        assert list(record.queues) == queues
        assert record.priority == priority


@given(IDS | CLOSE_IDS, U64, st.sampled_from([SETTLE, DROP]), st.integers(0, 255))
def test_removed_ids_come_back(ids: list[int], queue: int, kind: int, reason: int) -> None:
    [record] = records(batch_of(encode_removed(kind, queue, ids, reason)))
    assert isinstance(record, Moved)
    assert (record.kind, record.queue, record.reason) == (kind, queue, reason)
    assert [i for part, _ in record.ranges for i in part] == ids


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 3)), min_size=1), U64)
def test_returns_come_back_in_order(returns: list[tuple[int, int]], queue: int) -> None:
    [record] = records(batch_of(encode_returned(queue, returns)))
    assert isinstance(record, Moved)
    assert (record.kind, record.queue) == (RETURN, queue)
    assert [(i, count) for part, count in record.ranges for i in part] == returns


def test_ids_in_a_row_are_one_range() -> None:
    [record] = records(batch_of(encode_removed(SETTLE, 1, list(range(3, 2003, 2)))))
    assert isinstance(record, Moved)
    assert record.ranges == [(range(3, 2003, 2), 0)]


def test_a_long_content_is_stored_once_and_is_never_joined() -> None:
    frames = (b"h" * 30, b"b" * 100_000, b"c" * 100_000)
    chunks = merged(encode_enqueue([(1, b"\0\1q", frames, 1, 0)], [1, 2, 3], 0))
    assert [chunk for chunk in chunks if len(chunk) >= 65536] == list(frames[1:])
    assert all(any(chunk is frame for chunk in chunks) for frame in frames[1:])
    assert sum(map(len, chunks)) < 200_300


@given(st.lists(st.binary(max_size=5) | st.just(b"x" * 70_000), max_size=8))
def test_merging_keeps_the_octets(chunks: list[bytes]) -> None:
    assert b"".join(merged(chunks)) == b"".join(chunks)


HEADS = st.builds(
    Batch,
    U64,
    st.sampled_from([0, MORE, CLEAN]),
    st.integers(0, 2**32 - 1),
    U64,
    U64,
    st.just(3),
    st.just((b"ab", b"")),
)


@given(HEADS, st.integers(0, 2**32 - 1))
def test_a_head_comes_back(batch: Batch, salt: int) -> None:
    head = read_head(b"??" + seal(batch, salt) + b"ab", 2, salt)
    assert head is not None
    assert head.batch(b"ab") == batch._replace(chunks=(b"ab",))
    assert head.length == 2


@given(HEADS, st.integers(0, HEAD_SIZE * 8 - 1), st.integers(0, 2**32 - 1))
def test_a_head_with_a_wrong_bit_is_none(batch: Batch, bit: int, salt: int) -> None:
    data = bytearray(seal(batch, salt))
    data[bit // 8] ^= 1 << bit % 8
    assert read_head(bytes(data), 0, salt) is None


def test_a_head_made_with_another_salt_is_none() -> None:
    assert read_head(seal(batch_of(b"x"), 1), 0, 2) is None


@pytest.mark.parametrize("kind", [0, 5, 6, 7, 255])
def test_a_record_of_unknown_kind_is_damage(kind: int) -> None:
    with pytest.raises(Damage, match=f"unknown kind {kind}"):
        list(records(batch_of(bytes([kind]) * 40)))


RECORD = b"".join(encode_enqueue([(1, b"\0\1q", (b"a", b"b"), 1, 7), (3, b"\0\1q", b"xyz", 1, 0)], [1], 0))
OTHER = b"".join(encode_enqueue([(1, b"\0\1q", b"xyz", 1, 0)], [1, 2], 0))
RETURNED = encode_returned(1, [(1, 1), (5, 2)])


@pytest.mark.parametrize("record", [RECORD, OTHER, RETURNED])
def test_a_record_that_is_cut_short_or_too_long_is_damage(record: bytes) -> None:
    for end in range(len(record)):
        with pytest.raises(Damage):
            list(records(batch_of(record[:end])))
    with pytest.raises(Damage, match="does not end"):
        list(records(batch_of(record, b"\0")))


def test_the_octets_of_today_are_read_tomorrow() -> None:
    octets = bytes.fromhex(
        "01010500030000000100000002000000010000000000000007000000000000000100000000000000030000000000000007000000"
        "01000000000000000000000009000000000000000001716d6573736167656d"
        "02000000020000000700000000000000010000000000000009000000000000000200000001000000"
    )
    messages = ((1, b"\0\1q", b"message", 1, 0), (3, b"\0\1q", b"m", 1, 9))
    run, settled = records(batch_of(octets, count=2))
    assert isinstance(run, Enqueued) and isinstance(settled, Moved)
    assert (tuple(run.messages), list(run.queues), run.priority) == (messages, [7], 5)
    assert settled == Moved(SETTLE, 0, 7, [(range(1, 5, 2), 0), (range(9, 11, 2), 0)])
    assert b"".join(encode_enqueue(messages, [7], 5)) + encode_removed(SETTLE, 7, [1, 3, 9]) == octets
