"""A data directory: what a start finds in it, who may open it, and how it is left."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amqpd.core.ports import DELAYED, Change, QueueRow, Recovered
from amqpd.storage.errors import Damage, DirectoryInUse
from amqpd.storage.store import Opened, open_store

QUEUE = QueueRow(1, "/", "q", False, b"\x00\x00\x00\x00")
MESSAGE = (1, b"\x00\x01q", b"content", 1, 0)


def opened(loop, directory: Path) -> Opened:  # type: ignore[no-untyped-def]
    return open_store(directory, loop.deliver, loop.failures.append, clock=lambda: 0)


def with_one_message(loop, directory: Path, clean: bool) -> None:  # type: ignore[no-untyped-def]
    store = opened(loop, directory).store
    done: list[object] = []
    store.catalog.submit([Change(True, QUEUE)], done.append)
    store.journal.enqueue([MESSAGE], (1,)).when_committed(lambda: done.append("message"))
    store.journal.hand_over()
    loop.run_until(lambda: len(done) == 2)
    store.close(clean)


def test_a_new_directory_is_empty_and_counts_as_left_in_order(loop, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = opened(loop, tmp_path / "new" / "data")
    assert (found.messages, found.next_message_id, found.clean, found.torn) == ({DELAYED: []}, 1, True, [])
    assert found.snapshot.next_queue_id == 1
    found.store.close(True)


@pytest.mark.parametrize("clean", [True, False])
def test_what_was_committed_is_found_again(loop, tmp_path: Path, clean: bool) -> None:  # type: ignore[no-untyped-def]
    with_one_message(loop, tmp_path, clean)
    found = opened(loop, tmp_path)
    found.store.close(True)
    assert found.snapshot.queues == [QUEUE]
    assert found.messages == {DELAYED: [], 1: [Recovered(MESSAGE, not clean, 0)]}
    assert (found.next_message_id, found.clean) == (2, clean)
    assert gc.isenabled()


def test_a_directory_belongs_to_one_process(loop, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = opened(loop, tmp_path)
    with pytest.raises(DirectoryInUse, match=f"{tmp_path} is in use by process {os.getpid()}"):
        opened(loop, tmp_path)
    code = "import sys, pathlib; from amqpd.storage.store import *; open_store(pathlib.Path(sys.argv[1]), print, print)"
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"DirectoryInUse: the data directory {tmp_path} is in use by process {os.getpid()}" in run.stderr
    (tmp_path / "pid").unlink()
    with pytest.raises(DirectoryInUse, match=r"is in use$"):
        opened(loop, tmp_path)
    first.store.close(True)
    opened(loop, tmp_path).store.close(True)


def test_a_directory_that_cannot_be_opened_is_let_go(loop, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with_one_message(loop, tmp_path, True)
    [segment] = (tmp_path / "journal").iterdir()
    good = segment.read_bytes()
    segment.write_bytes(b"?" + good[1:])
    for _ in range(2):
        with pytest.raises(Damage):
            opened(loop, tmp_path)
    segment.write_bytes(good)
    found = opened(loop, tmp_path)
    found.store.close(True)
    assert len(found.messages[1]) == 1


def test_a_torn_end_is_reported(loop, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with_one_message(loop, tmp_path, True)
    [segment] = (tmp_path / "journal").iterdir()
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"AMQB torn")
    found = opened(loop, tmp_path)
    found.store.close(True)
    assert [tuple(torn) for torn in found.torn] == [(str(segment), size, 9)]
    assert found.clean and len(found.messages[1]) == 1


def test_messages_of_a_queue_that_was_deleted_are_not_found(loop, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with_one_message(loop, tmp_path, True)
    store = opened(loop, tmp_path).store
    done: list[object] = []
    store.catalog.submit([Change(False, QUEUE)], done.append)
    loop.run_until(lambda: done)
    store.journal.forget_queue(1)
    store.close(True)
    found = opened(loop, tmp_path)
    found.store.close(True)
    assert found.messages == {DELAYED: []} and found.next_message_id == 2 and found.snapshot.next_queue_id == 2
