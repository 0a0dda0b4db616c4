"""Logs in files: what a crash may leave is cut off, the rest is damage; nothing that was promised is lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqpd.core.ports import Recovered
from amqpd.storage.errors import Damage, StorageError
from amqpd.storage.journal.engine import Place
from amqpd.storage.journal.format import CLEAN, HEAD_SIZE, Batch, seal
from amqpd.storage.journal.journal import Journal
from amqpd.storage.local import log as log_module
from amqpd.storage.local.committer import Committer
from amqpd.storage.local.engine import LocalEngine
from amqpd.storage.local.log import Log
from amqpd.storage.local.os import write_all
from amqpd.storage.local.segment import SEGMENT_HEAD_SIZE, open_segment
from amqpd.storage.store import open_store

ROUTING = b"\x00\x01q"
TO = (1,)


def batch(number: int, body: bytes = b"body", flags: int = 0) -> Batch:
    return Batch(number, flags, 0, 5, number * 2, 0, [body])


def filled(directory: Path, bodies: list[bytes], segment_octets: int = 1 << 20) -> list[Place]:
    log = Log("log", directory, segment_octets)
    assert list(log.replay()) == []
    places = [log.write(batch(number, body)) for number, body in enumerate(bodies, 1)]
    log.close()
    return places


def replayed(directory: Path) -> tuple[list[bytes], Log]:
    log = Log("log", directory, 1 << 20)
    try:
        bodies = [b"".join(found.chunks) for found in log.replay()]
    finally:
        log.close()
    return bodies, log


def only_file(directory: Path) -> Path:
    [path] = directory.glob("*.log")
    return path


# ----------------------------------------------------------------------------------------- what a crash leaves


def test_a_log_cut_at_any_octet_of_its_last_batch_is_what_came_before_it(tmp_path: Path) -> None:
    bodies = [b"one", b"", b"three" * 20]
    places = filled(tmp_path / "whole", bodies)
    data = only_file(tmp_path / "whole").read_bytes()
    for end in range(places[-1].offset, len(data)):
        cut = tmp_path / str(end)
        cut.mkdir()
        (cut / "00000001.log").write_bytes(data[:end])
        found, log = replayed(cut)
        assert found == bodies[:-1]
        assert (log.torn is not None) == (end > places[-1].offset)
        assert only_file(cut).stat().st_size == places[-1].offset
        assert log.next_batch == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_whatever_stands_behind_the_last_batch_is_cut_off(tmp_path: Path, data: st.DataObject) -> None:
    """Noise, zeroes, and a message content that tries to look like a batch."""
    shutil.rmtree(tmp_path / "log", ignore_errors=True)
    filled(tmp_path / "log", [b"one"])
    forged = seal(batch(3), 0) + b"body"
    noise = data.draw(st.binary(min_size=1, max_size=200) | st.just(bytes(300)) | st.just(b"?" + forged * 3))
    with only_file(tmp_path / "log").open("ab") as file:
        file.write(noise)
    bodies, log = replayed(tmp_path / "log")
    assert bodies == [b"one"] and log.torn is not None and log.torn.octets == len(noise)
    assert replayed(tmp_path / "log")[1].torn is None


def test_a_log_goes_on_after_a_torn_batch(tmp_path: Path) -> None:
    filled(tmp_path, [b"one", b"two"])
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    log = Log("log", tmp_path, 1 << 20)
    list(log.replay())
    log.write(batch(2, b"again"))
    log.close()
    assert replayed(tmp_path)[0] == [b"one", b"again"]


def test_drafts_of_segments_are_removed(tmp_path: Path) -> None:
    filled(tmp_path, [b"one"])
    (tmp_path / "00000002.new").write_bytes(b"half a he")
    assert replayed(tmp_path)[0] == [b"one"]
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.log"]


def test_a_new_segment_that_holds_nothing_yet_ends_the_log(tmp_path: Path) -> None:
    filled(tmp_path, [b"x" * 300, b"y" * 300], segment_octets=400)
    second = tmp_path / "00000002.log"
    second.write_bytes(second.read_bytes()[:SEGMENT_HEAD_SIZE])
    bodies, log = replayed(tmp_path)
    assert bodies == [b"x" * 300] and (log.next_batch, log.last_id) == (2, 2)


# --------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("where", range(0, HEAD_SIZE + 4, 3))
def test_a_bad_batch_with_a_good_one_after_it_is_damage(tmp_path: Path, where: int) -> None:
    places = filled(tmp_path, [b"one!", b"two!", b"three"])
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[places[1].offset + where] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(Damage) as caught:
        replayed(tmp_path)
    assert (caught.value.file, caught.value.offset) == (str(path), places[1].offset)
    assert str(path) in str(caught.value) and f"octet {places[1].offset}" in str(caught.value)
    assert path.read_bytes() == data, "nothing was cut off"


def test_a_gap_in_the_numbers_is_damage(tmp_path: Path) -> None:
    places = filled(tmp_path, [b"one", b"two", b"three"])
    path = only_file(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: places[1].offset] + data[places[2].offset :])
    with pytest.raises(Damage, match="batch 3 where 2 is due"):
        replayed(tmp_path)


def many_segments(directory: Path) -> list[Path]:
    filled(directory, [bytes([number]) * 300 for number in range(5)], segment_octets=400)
    paths = sorted(directory.glob("*.log"))
    assert len(paths) == 5
    return paths


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    many_segments(tmp_path)[2].unlink()
    with pytest.raises(Damage, match="is missing"):
        replayed(tmp_path)


def test_a_segment_of_another_log_is_damage(tmp_path: Path) -> None:
    paths = many_segments(tmp_path)
    paths[3].write_bytes(paths[1].read_bytes())
    with pytest.raises(Damage, match="begins with batch 2, not 4"):
        replayed(tmp_path)


@pytest.mark.parametrize("end", [0, 10, SEGMENT_HEAD_SIZE, SEGMENT_HEAD_SIZE + 20, -1])
def test_a_complete_segment_that_lost_its_end_is_damage(tmp_path: Path, end: int) -> None:
    path = many_segments(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(Damage, match=r"00000002\.log|00000003\.log"):
        replayed(tmp_path)


def test_a_bad_segment_head_is_damage(tmp_path: Path) -> None:
    path = many_segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damage, match="no head"):
        replayed(tmp_path)


# ------------------------------------------------------------------------------------------------- segments


def test_segments_are_filled_in_order_and_removed_from_the_head(tmp_path: Path) -> None:
    paths = many_segments(tmp_path)
    log = Log("log", tmp_path, 400)
    assert len(list(log.replay())) == 5
    log.truncate(3)
    assert sorted(tmp_path.glob("*.log")) == paths[2:]
    log.truncate(3)
    log.truncate(100)
    assert sorted(tmp_path.glob("*.log")) == paths[4:], "the one that is written to stays"
    log.write(batch(6, b"z" * 300))
    log.truncate(6)
    log.close()
    bodies, again = replayed(tmp_path)
    assert bodies == [b"z" * 300]
    assert (again.next_batch, again.last_id) == (7, 12)


def test_a_batch_larger_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    bodies = [b"a", b"b" * 5000, b"c"]
    filled(tmp_path, bodies, segment_octets=400)
    assert replayed(tmp_path)[0] == bodies
    assert len(list(tmp_path.glob("*.log"))) == 3


def test_a_batch_is_read_at_its_place(tmp_path: Path) -> None:
    places = filled(tmp_path, [bytes([number]) * 300 for number in range(5)], segment_octets=700)
    log = Log("log", tmp_path, 700)
    list(log.replay())
    for place in reversed(places):
        assert log.read(place) == batch(place.batch)._replace(chunks=(bytes([place.batch - 1]) * 300,))
    with pytest.raises(StorageError, match="cannot be read"):
        log.read(places[0]._replace(offset=5))
    log.truncate(4)
    with pytest.raises(StorageError, match="not in log"):
        log.read(places[0])
    log.close()


def test_pieces_are_written_in_order_however_many_and_however_short_the_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [bytes([number % 256]) * (number % 7) for number in range(2000)]
    real = os.write

    def short(fd: int, parts: list[bytes]) -> int:
        joined = b"".join(parts)
        return real(fd, joined[: random.Random(len(joined)).randint(1, 50)])

    monkeypatch.setattr(os, "writev", short, raising=False)
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    write_all(fd, pieces)
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_the_salt_differs_from_segment_to_segment(tmp_path: Path) -> None:
    salts = {open_segment(path, path.read_bytes()).salt for path in many_segments(tmp_path)}
    assert len(salts) > 1


# ----------------------------------------------------------------------------------------- the engine, threads


@pytest.fixture
def committer(loop) -> Iterator[Committer]:  # type: ignore[no-untyped-def]
    committer = Committer(loop.deliver, "test")
    yield committer
    committer.close()


@pytest.fixture
def open_journal(loop, committer: Committer) -> Callable[..., Journal]:  # type: ignore[no-untyped-def]
    def opened(directory: Path, segment_octets: int = 1 << 20) -> Journal:
        engine = LocalEngine(directory.name, directory, committer, segment_octets)
        journal = Journal(engine, lambda: 0, loop.failures.append, 1000)
        journal.found = journal.recover([1])  # type: ignore[attr-defined]
        return journal

    return opened


def test_two_logs_commit_by_themselves_through_one_thread(loop, tmp_path: Path, open_journal) -> None:  # type: ignore[no-untyped-def]
    logs = [open_journal(tmp_path / "one"), open_journal(tmp_path / "two")]
    order: list[tuple[int, int]] = []
    for number in range(1, 401, 2):
        for at, journal in enumerate(logs):
            commit = journal.enqueue([(number, ROUTING, b"x" * 100, 1, 0)], TO)
            commit.when_committed(lambda at=at, number=number: order.append((at, number)))
            journal.hand_over()
    loop.run_until(lambda: len(order) == 400)
    for at in (0, 1):
        assert [number for log, number in order if log == at] == list(range(1, 401, 2))
    for journal in logs:
        journal.close(True)
    for name in ("one", "two"):
        again = open_journal(tmp_path / name)
        assert [found.message[0] for found in again.found.messages[1]] == list(range(1, 401, 2))
        assert again.found.clean
        again.close(False)


def test_a_long_message_survives_as_it_was_and_dead_segments_go(loop, tmp_path: Path, open_journal) -> None:  # type: ignore[no-untyped-def]
    journal = open_journal(tmp_path / "log", segment_octets=50_000)
    kept = (101, ROUTING, (b"head", b"b" * 100_000, b"c" * 70_000), 1, 12345)
    for number in range(1, 101, 2):
        journal.enqueue([(number, ROUTING, b"x" * 10_000, 1, 0)], TO)
        journal.hand_over()
        loop.run_until(lambda: journal.flying is None)
    assert len(list((tmp_path / "log").glob("*.log"))) > 5
    journal.enqueue([kept], TO)
    for number in range(1, 101, 2):
        journal.settle(1, [number])
    journal.hand_over()
    loop.run_until(lambda: journal.flying is None)
    journal.close(True)
    assert len(list((tmp_path / "log").glob("*.log"))) <= 3
    again = open_journal(tmp_path / "log")
    assert again.found.messages[1] == [Recovered(kept, False, 0)]
    again.close(False)


def test_a_disk_that_fails_is_reported_and_nothing_is_written_or_confirmed_after(
    loop, tmp_path: Path, open_journal, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    journal = open_journal(tmp_path / "log")
    confirmed: list[int] = []

    def publish(number: int) -> None:
        journal.enqueue([(number, ROUTING, b"x", 1, 0)], TO).when_committed(lambda: confirmed.append(number))
        journal.hand_over()

    publish(1)
    loop.run_until(lambda: confirmed)
    with monkeypatch.context() as patch:

        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(log_module, "sync_data", full)
        publish(3)
        publish(5)
        loop.run_until(lambda: loop.failures)
    publish(7)
    with pytest.raises(StorageError, match="No space"):
        journal.engine.append_now(batch(journal.number))
    journal.close(True)
    assert confirmed == [1] and len(loop.failures) == 1
    again = open_journal(tmp_path / "log")
    assert not again.found.clean
    assert [found.message[0] for found in again.found.messages[1]][:1] == [1]
    again.close(False)


def test_a_batch_with_a_wrong_number_is_refused(tmp_path: Path) -> None:
    log = Log("log", tmp_path, 1000)
    list(log.replay())
    with pytest.raises(StorageError, match="batch 7 where 1 is due"):
        log.write(batch(7, flags=CLEAN))
    log.close()


def test_work_that_raises_is_reported_and_the_thread_goes_on(loop, committer: Committer) -> None:  # type: ignore[no-untyped-def]
    answers: list[object] = []
    committer.submit(lambda: 1 // 0, answers.append)
    committer.submit(lambda: 7, answers.append)
    loop.run_until(lambda: len(answers) == 2)
    assert isinstance(answers[0], ZeroDivisionError) and answers[1] == 7
    with pytest.raises(ZeroDivisionError):
        committer.wait_for(lambda: 1 // 0)


def test_batches_are_read_through_the_engine(loop, tmp_path: Path, committer: Committer) -> None:  # type: ignore[no-untyped-def]
    engine = LocalEngine("log", tmp_path, committer)
    list(engine.replay())
    places: list[Place] = []
    engine.append(batch(1), places.append)  # type: ignore[arg-type]
    loop.run_until(lambda: places)
    answers: list[list[Batch]] = []
    engine.read(places, answers.append)  # type: ignore[arg-type]
    loop.run_until(lambda: answers)
    assert answers == [[batch(1)._replace(chunks=(b"body",))]]
    engine.close()


# ------------------------------------------------------------------------------------------------- kill -9

CHILD = """
import sys
from pathlib import Path
from queue import SimpleQueue
from amqpd.core.ports import Change, QueueRow
from amqpd.storage.store import open_store

calls = SimpleQueue()
def fail(error): raise error
opened = open_store(Path(sys.argv[1]), calls.put, fail, segment_octets=200_000)
opened.store.catalog.submit([Change(True, QueueRow(1, "/", "q", False, b""))], lambda error: None)
calls.get()()
journal = opened.store.journal
number = opened.next_message_id | 1
to = (1,)
routing = bytes((0, 1, 113))
while True:
    content = number.to_bytes(8, "big") * 40
    commit = journal.enqueue([(number, routing, content, 1, 0)], to)
    commit.when_committed(lambda number=number: print("+", number, flush=True))
    if number % 10 == 1 and number > 200:
        print("?", number - 100, flush=True)
        journal.settle(1, [number - 100])
        journal.growing.when_committed(lambda number=number: print("-", number - 100, flush=True))
    number += 2
    if number % 7 == 0:
        journal.hand_over()
        while not calls.empty():
            calls.get()()
"""


def test_kill_minus_nine_loses_nothing_that_was_reported(loop, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    enqueued: set[int] = set()
    settling: set[int] = set()
    settled: set[int] = set()
    for confirmed in (20, 300, 1500):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            said: list[bytes] = []
            while confirmed:
                said.append(child.stdout.readline())
                confirmed -= said[-1].startswith(b"+")
            child.send_signal(signal.SIGKILL)
            said += [line for line in child.stdout if line.endswith(b"\n")]
        for sign, number in map(bytes.split, said):
            {b"+": enqueued, b"?": settling, b"-": settled}[sign].add(int(number))
        opened = open_store(tmp_path, loop.deliver, loop.failures.append)
        found = {row.message[0]: row for row in opened.messages[1]}
        opened.store.close(False)
        assert enqueued - settling - found.keys() == set()
        assert settled & found.keys() == set()
        for number, (message, redelivered, _) in found.items():
            assert message[2] == number.to_bytes(8, "big") * 40 and redelivered
        assert opened.next_message_id > max(enqueued)
