"""The load generator's processes: a sender and a receiver that live as long as the benchmark and do job after job.

A job is a function of `Job` in one of the modules here. It prepares its connections, calls `ready()`, and works until
the board says stop. The board is a page of shared memory: a worker's count of what it has done is there for the other
worker (which keeps no more than a backlog in the broker) and for the benchmark, without a system call.
"""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.bench.cells import Cell
from tests.bench.guard import Guard

__all__ = ["DONE", "FINAL", "FROM", "PATIENCE", "SENT", "STOP", "Crew", "Job", "LoadError", "Patience"]

SENT, DONE, FINAL, STOP, FROM = range(5)
"""Places on the board: messages sent, messages finished, how many there will be (-1: not known yet), whether to stop,
and from which time stamp on latencies count (0: not yet)."""

PATIENCE = 20.0
"""Seconds without any progress after which a cell has failed."""


class LoadError(Exception):
    """The load did not go as it must for the figures to mean anything."""


class Patience:
    """Time without progress."""

    def __init__(self, seconds: float = PATIENCE) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds

    def progress(self) -> None:
        """Something happened."""
        self.deadline = time.monotonic() + self.seconds

    def check(self, what: str) -> None:
        """Raises LoadError when nothing has happened for too long."""
        if time.monotonic() > self.deadline:
            raise LoadError(f"nothing for {self.seconds:.0f} s while {what}")


@dataclass
class Job:
    """What a worker is told: the cell, the broker, and messages per second for a paced run (0: as fast as it goes)."""

    url: str
    cell: Cell
    rate: float
    board: Any
    control: Connection
    began: float = 0.0

    def ready(self) -> None:
        """The connections stand; returns when all workers are ready."""
        self.announce()
        self.await_go()

    def announce(self) -> None:
        """The connections stand."""
        self.control.send(("ready", None))

    def await_go(self) -> None:
        """Returns when all workers are ready."""
        self.control.recv()
        self.began = self.began or own_cpu()


def own_cpu() -> float:
    """User and system seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def work(control: Connection, board: Any) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            function, url, cell, rate = control.recv()
        except EOFError:
            return
        job = Job(url, cell, rate, board, control)
        outcome: tuple[str, Any]
        try:
            result = function(job)
            outcome = "done", {**result, "cpu": own_cpu() - job.began}
        except LoadError as error:
            outcome = "error", str(error)
        except Exception:
            outcome = "error", traceback.format_exc()
        try:
            control.send(outcome)
        except OSError:
            return


class Worker:
    """One process and the pipe to it."""

    def __init__(self, name: str, board: Any, guard: Guard) -> None:
        context = get_context("spawn")
        self.name, self.guard = name, guard
        self.control, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, board), name=name, daemon=True)
        self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid: int = self.process.pid
        guard.watch(self.pid)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.control.close()
        self.guard.release(self.pid)


class Crew:
    """The workers, and what they are at."""

    NAMES = ("sender", "receiver")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.board = get_context("spawn").RawArray("q", 8)
        self.workers: list[Worker] = []
        self.busy: list[Worker] = []
        self.results: dict[str, dict[str, Any]] = {}

    def start(self, functions: list[Callable[[Job], dict[str, Any]]], url: str, cell: Cell, rate: float) -> None:
        """Give each worker its function and let them begin together once all are ready."""
        for place in range(len(self.board)):
            self.board[place] = 0
        self.board[FINAL] = -1
        self.results = {}
        while len(self.workers) < len(functions):
            self.workers.append(Worker(self.NAMES[len(self.workers)], self.board, self.guard))
        self.busy = self.workers[: len(functions)]
        # The receiver first: a sender may need what it has set up.
        for worker, function in list(zip(self.busy, functions, strict=True))[::-1]:
            worker.control.send((function, url, cell, rate))
            self._hear(worker, cell.patience + PATIENCE)
        for worker in self.busy:
            worker.control.send("go")

    def watch(self, seconds: float) -> bool:
        """Let so much time pass; True as soon as all have finished. Raises LoadError when one has failed."""
        deadline = time.monotonic() + seconds
        while self.busy:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for control in wait([worker.control for worker in self.busy], left):
                worker = next(worker for worker in self.busy if worker.control is control)
                self._hear(worker, PATIENCE)
        return True

    def finish(self, patience: float) -> dict[str, dict[str, Any]]:
        """Stop, and what the workers have to say by name."""
        self.board[STOP] = 1
        if not self.watch(patience + PATIENCE):
            names = " and ".join(worker.name for worker in self.busy)
            sent, done, final = (self.board[place] for place in (SENT, DONE, FINAL))
            raise LoadError(f"{names} did not finish: {sent} sent, {done} done, {final} expected")
        return self.results

    def dismiss(self) -> None:
        """End all workers; the next job gets new ones."""
        for worker in self.workers:
            worker.end()
        self.workers, self.busy = [], []

    def _hear(self, worker: Worker, patience: float) -> None:
        if not worker.control.poll(patience):
            raise LoadError(f"the {worker.name} says nothing for {patience:.0f} s")
        try:
            kind, value = worker.control.recv()
        except (EOFError, ConnectionError):
            raise LoadError(f"the {worker.name} ended") from None
        if kind == "error":
            raise LoadError(f"the {worker.name}: {value}")
        if kind == "done":
            self.results[worker.name] = value
            self.busy = [other for other in self.busy if other is not worker]
