"""The idle and declare scenarios: many connections, or many durable queues. They end when their count is reached."""

from __future__ import annotations

import resource
import select
import time
from contextlib import ExitStack
from typing import Any

from pamqp import commands

from tests.bench.crew import DONE, SENT, STOP, Job, LoadError, Patience
from tests.bench.lines import TICK, Replies
from tests.bench.topology import connect
from tests.support.rawclient import pack_method

__all__ = ["NAME", "allow_open_files", "declare", "idle"]

NAME = "bench.mass.{:08d}"
WINDOW = 50
"""Declarations outstanding on each connection."""

SPARE_FILES = 200


def allow_open_files() -> None:
    """Raise the limit of this process and of those it starts as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def idle(job: Job) -> dict[str, Any]:
    """Connections with one channel each, that stay open until told to stop."""
    board, count = job.board, job.cell.count
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < count + SPARE_FILES:
        raise LoadError(
            f"{count} connections need {count + SPARE_FILES} open files, and no more than {limit} are allowed"
        )
    with ExitStack() as stack:
        job.ready()
        for number in range(count):
            client = stack.enter_context(connect(job.url, 20.0))
            client.open_channel()
            board[SENT] = board[DONE] = number + 1
        while not board[STOP]:
            time.sleep(TICK)
    return {"sent": count, "received": count}


class Declarer:
    """One connection that declares every n-th queue."""

    def __init__(self, replies: Replies, first: int, step: int, count: int) -> None:
        self.replies = replies
        self.numbers = range(first, count, step)
        self.asked = 0

    def ask(self) -> None:
        """Fill the window."""
        room = min(WINDOW - (self.asked - self.replies.count), len(self.numbers) - self.asked)
        if room > 0:
            names = [NAME.format(number) for number in self.numbers[self.asked : self.asked + room]]
            methods = [pack_method(1, commands.Queue.Declare(queue=name, durable=True)) for name in names]
            self.replies.sock.sendall(b"".join(methods))
            self.asked += room

    @property
    def finished(self) -> bool:
        return self.replies.count == len(self.numbers)


def declare(job: Job) -> dict[str, Any]:
    """Durable queues, over several connections at once."""
    cell, board, patience = job.cell, job.board, Patience()
    length = 7 + 4 + 1 + len(NAME.format(0)) + 4 + 4 + 1
    with ExitStack() as stack, select.epoll() as poll:
        declarers = {}
        for number in range(cell.producers):
            client = stack.enter_context(connect(job.url, 20.0))
            client.open_channel()
            declarer = Declarer(Replies(client, length), number, cell.producers, cell.count)
            declarers[client.fileno()] = declarer
            poll.register(client.fileno(), select.EPOLLIN)
        job.ready()
        for declarer in declarers.values():
            declarer.ask()
        while not all(declarer.finished for declarer in declarers.values()):
            for number, _ in poll.poll(TICK):
                declarers[number].replies.read()
                declarers[number].ask()
                patience.progress()
            board[SENT] = board[DONE] = sum(declarer.replies.count for declarer in declarers.values())
            patience.check(f"declaring; {board[DONE]} of {cell.count} are there")
        while not board[STOP]:
            time.sleep(TICK)
    return {"sent": cell.count, "received": cell.count}
