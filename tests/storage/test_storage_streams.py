"""The files of streams: what is appended is read from any offset, what is torn is cut off, limits cut segments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from amqpd.core.message import Message
from amqpd.core.ports import Block, Commit
from amqpd.storage.errors import Damage
from amqpd.storage.local.committer import Committer
from amqpd.storage.streams import files as files_module
from amqpd.storage.streams.streams import LocalStream, LocalStreams
from tests.storage.conftest import Loop

ROUTING = b"\x00\x01s"


class Start:
    """One start on a directory."""

    def __init__(self, directory: Path, loop: Loop, segment_octets: int = 1 << 20) -> None:
        self.loop = loop
        self.clock = 1000
        self.committer = Committer(loop.deliver, "test")
        self.streams = LocalStreams(
            directory, self.committer, loop.deliver, lambda: self.clock, loop.failures.append, segment_octets
        )
        self.torn = self.streams.recover({1, 2})

    def stream(self, queue: int = 1) -> LocalStream:
        return self.streams.open(queue)

    def append(self, *bodies: bytes, queue: int = 1) -> None:
        """Messages that become durable together, at this clock."""
        self.wait_for(self.start(*bodies, queue=queue))

    def start(self, *bodies: bytes, queue: int = 1) -> Commit:
        stream = self.stream(queue)
        first = stream.next + 1
        messages: list[Message] = [(first + at, ROUTING, body, 1 | 99 << 16, 0) for at, body in enumerate(bodies)]
        commit = stream.append(messages)
        stream.hand_over()
        return commit

    def wait_for(self, commit: Commit) -> None:
        done: list[bool] = []
        commit.when_committed(lambda: done.append(True))
        self.loop.run_until(lambda: done)

    def settle(self) -> None:
        """Let the committing thread finish what it was given."""
        self.committer.wait_for(lambda: None)

    def block(self, offset: int, place: object | None = None, queue: int = 1) -> Block:
        found: list[Block | Exception] = []
        self.stream(queue).read(offset, place, found.append)
        self.loop.run_until(lambda: found)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def bodies(self, offset: int, queue: int = 1) -> list[tuple[int, bytes]]:
        """Offset and body of all messages from this one on, read in sequence."""
        found: list[tuple[int, bytes]] = []
        place = None
        end = self.stream(queue).next
        while offset < end:
            block = self.block(offset, place, queue)
            found += [(message[0] - 1, bytes(message[2])) for message in block.messages]  # type: ignore[arg-type]
            offset, place = block.messages[-1][0], block.place
        return found

    def find(self, clock: int) -> int:
        found: list[int | Exception] = []
        self.stream().find(clock, found.append)
        self.loop.run_until(lambda: found)
        assert isinstance(found[0], int)
        return found[0]

    def close(self) -> None:
        self.streams.close()
        self.committer.close()


@pytest.fixture
def start(tmp_path: Path, loop: Loop) -> Iterator[Start]:
    opened = Start(tmp_path / "streams", loop)
    yield opened
    opened.close()


def segments(directory: Path, queue: int = 1) -> list[Path]:
    return sorted((directory / "streams" / str(queue)).glob("*.log"))


def test_nothing_is_on_the_disk_before_the_first_message(tmp_path: Path, start: Start) -> None:
    assert (start.stream().first, start.stream().next) == (0, 0)
    start.stream().track({"t": 1})
    start.settle()
    assert not (tmp_path / "streams" / "1").exists()


def test_every_offset_can_be_read_from(start: Start) -> None:
    written = [b"%d" % number * (number + 1) for number in range(40)]
    for at in range(0, 40, 4):
        start.append(*written[at : at + 4])
    for offset in range(40):
        assert start.bodies(offset) == list(enumerate(written))[offset:]


def test_a_read_ends_with_the_segment_and_the_next_one_goes_on(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "READ_OCTETS", 700)
    monkeypatch.setattr(files_module, "MARK_OCTETS", 300)
    start = Start(tmp_path / "streams", loop, 2000)
    written = [b"%03d" % number * 50 for number in range(60)]
    for body in written[:-1]:
        start.append(body)
    start.append(b"large" * 1000)
    written[-1] = b"large" * 1000
    assert len(segments(tmp_path)) > 5
    for offset in (0, 1, 7, 31, 58, 59):
        assert start.bodies(offset) == list(enumerate(written))[offset:]
    marks = start.stream().files.marks
    assert sum(map(len, marks.values())) > len(marks), "places in the segments were remembered"
    assert start.bodies(31) == list(enumerate(written))[31:]
    start.close()


def test_offsets_go_on_after_a_start(tmp_path: Path, loop: Loop) -> None:
    start = Start(tmp_path / "streams", loop, 300)
    for number in range(10):
        start.append(b"%d" % number * 50)
    start.close()
    start = Start(tmp_path / "streams", loop, 300)
    assert (start.stream().first, start.stream().next, start.torn) == (0, 10, [])
    start.append(b"more")
    assert start.bodies(8) == [(8, b"8" * 50), (9, b"9" * 50), (10, b"more")]
    start.close()


def test_a_start_reads_the_heads_and_the_last_segment_only(
    tmp_path: Path, loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    start = Start(tmp_path / "streams", loop, 300)
    for number in range(10):
        start.append(b"%d" % number * 100)
    start.close()
    first, *_, last = segments(tmp_path)
    with first.open("r+b") as file:
        file.seek(120)
        file.write(b"????")
    start = Start(tmp_path / "streams", loop, 300)
    with pytest.raises(Damage):
        start.block(0)
    assert start.bodies(9) == [(9, b"9" * 100)]
    start.close()
    with last.open("r+b") as file:
        file.truncate(10)
    start = Start(tmp_path / "streams", loop, 300)
    assert start.stream().damaged and not start.stream(2).damaged
    assert f"{last}, octet 10: the file is too short for a segment" in caplog.text
    start.stream().delete()
    start.settle()
    assert not last.exists()
    start.close()


@pytest.mark.parametrize("cut", [1, 30, 90])
def test_a_torn_tail_is_cut_off_and_reported(tmp_path: Path, loop: Loop, cut: int) -> None:
    start = Start(tmp_path / "streams", loop)
    start.append(b"one", b"two")
    size = segments(tmp_path)[0].stat().st_size
    start.append(b"three" * 30)
    start.close()
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    start = Start(tmp_path / "streams", loop)
    assert [(torn.file, torn.offset) for torn in start.torn] == [(str(path), size)]
    assert start.stream().next == 2
    start.append(b"again")
    assert start.bodies(0) == [(0, b"one"), (1, b"two"), (2, b"again")]
    start.close()


def test_what_is_not_committed_yet_is_made_durable_by_a_stop(tmp_path: Path, loop: Loop) -> None:
    start = Start(tmp_path / "streams", loop)
    start.start(b"in flight")
    start.stream().append([(2, ROUTING, b"growing", 1, 0)])
    start.close()
    start = Start(tmp_path / "streams", loop)
    assert start.bodies(0) == [(0, b"in flight"), (1, b"growing")]
    start.close()


def test_a_time_is_found_by_the_clocks_of_batches(tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MARK_OCTETS", 100)
    start = Start(tmp_path / "streams", loop, 600)
    for number in range(20):
        start.clock = 1000 + 10 * number
        start.append(b"a" * 80, b"b" * 20)
    assert len(segments(tmp_path)) > 3
    for _ in range(2):
        assert [start.find(clock) for clock in (0, 1000, 1001, 1010, 1095, 1190, 1191)] == [0, 0, 2, 2, 20, 38, 40]
    start.close()


def test_retention_by_octets_cuts_whole_segments_at_the_head(tmp_path: Path, loop: Loop) -> None:
    start = Start(tmp_path / "streams", loop)
    start.stream().keep(None, 2000, 500)
    for number in range(30):
        start.append(b"%02d" % number * 50)
    start.settle()
    sizes = [path.stat().st_size for path in segments(tmp_path)]
    assert 1000 < sum(sizes) <= 2000 + 500 and len(sizes) > 2
    stream = start.stream()
    assert stream.first > 0 and stream.next == 30
    assert start.bodies(stream.first)[0] == (stream.first, b"%02d" % stream.first * 50)
    assert start.block(0).messages[0][0] - 1 == stream.first, "what was cut off is passed over"
    start.close()
    start = Start(tmp_path / "streams", loop)
    assert start.stream().first == stream.first
    start.close()


def test_retention_by_age_keeps_a_segment_with_anything_younger(tmp_path: Path, loop: Loop) -> None:
    start = Start(tmp_path / "streams", loop)
    start.stream().keep(100, None, 300)
    for number in range(10):
        start.clock = 1000 + 10 * number
        start.append(b"%d" % number * 100)
    start.settle()
    assert start.stream().first == 0
    start.clock = 1165
    start.append(b"x" * 100)
    start.settle()
    # 1065 is the limit. Each has a segment of its own, which is known to be older when the next one is.
    assert start.stream().first == 6
    start.clock = 9999
    start.stream().keep(100, None, 300)
    start.settle()
    assert start.stream().first == 10, "the last segment stays"
    start.close()


def test_a_reader_whose_segment_is_cut_off_goes_on_at_the_head(tmp_path: Path, loop: Loop) -> None:
    start = Start(tmp_path / "streams", loop, 300)
    for number in range(10):
        start.append(b"%d" % number * 100)
    block = start.block(0)
    start.stream().keep(None, 1, None)
    start.settle()
    first = start.stream().first
    assert first > block.messages[-1][0]
    assert start.block(block.messages[-1][0], block.place).messages[0][0] - 1 == first
    start.close()


def test_the_log_of_a_deleted_stream_is_removed_once_it_is_durable(tmp_path: Path, start: Start) -> None:
    commit = start.start(b"under way")
    start.append(b"kept", queue=2)
    start.stream().append([(2, ROUTING, b"growing", 1, 0)])
    start.stream().delete()
    start.wait_for(commit)
    start.loop.run_until(lambda: 1 not in start.streams.logs)
    start.settle()
    assert not (tmp_path / "streams" / "1").exists()
    assert start.bodies(0, queue=2) == [(0, b"kept")]
    assert not start.loop.failures


def test_logs_of_unknown_streams_are_removed_at_a_start(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "streams" / "3").mkdir(parents=True)
    Start(tmp_path / "streams", loop).close()
    assert not (tmp_path / "streams" / "3").exists()


def test_positions_are_kept(tmp_path: Path, loop: Loop) -> None:
    start = Start(tmp_path / "streams", loop)
    start.append(b"x")
    start.stream().track({"täg": 7})
    start.close()
    start = Start(tmp_path / "streams", loop)
    assert start.stream().tracked() == {"täg": 7}
    start.close()
    (tmp_path / "streams" / "1" / "positions.json").write_text("[]")
    start = Start(tmp_path / "streams", loop)
    assert start.stream().tracked() == {}
    start.close()


def test_a_failed_write_is_reported_and_nothing_is_confirmed(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "streams").mkdir()
    start = Start(tmp_path / "streams", loop)
    (tmp_path / "streams" / "1").write_text("no directory")
    done: list[bool] = []
    start.start(b"x").when_committed(lambda: done.append(True))
    loop.run_until(lambda: loop.failures)
    assert not done
    start.close()


def test_no_file_stays_open(start: Start) -> None:
    start.append(b"x")
    start.block(0)
    assert start.stream().files.fd == -1
