"""The brokers that are measured: amqpd from this or another checkout, a private RabbitMQ, or one that runs already."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.guard import Guard
from tests.support.broker import ROOT, BrokerError, BrokerProcess, private_directory
from tests.support.rawclient import RawClient

__all__ = ["OwnBroker", "Subject", "enter"]

STARTUP = 120.0
"""Seconds that a broker may take to start, with 100,000 queues to recover."""

STOP_TIMEOUT = 20.0

WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from amqpd.cli.server import main; main()"
"""amqpd takes uvloop when it can be imported; so it must not be."""


@dataclass
class Subject:
    """A broker under load. Without a pid there are no figures of CPU and memory; without a process, no restart."""

    name: str
    url: str
    pid: int | None
    process: BrokerProcess | None = None
    guard: Guard | None = None

    def __post_init__(self) -> None:
        with RawClient.connected(self.url) as client:
            product = client.server_properties
            client.close()
        # amqpd says that it is RabbitMQ to clients that look; what it is stands in the information.
        own = str(product.get("information", "")).partition(",")[0]
        name = own if own.startswith("amqpd ") else f"{product.get('product', '?')} {product.get('version', '?')}"
        self.version = f"{name} {product.get('platform', '')}".strip()

    def last_words(self) -> str:
        """The end of the log of a broker that has ended."""
        if self.process is None or self.process.running:
            return ""
        return f"; the broker has ended, and its log with\n{self.process.log()[-2000:]}"

    def restart(self) -> float:
        """Seconds from the start to accepting, on the data it has; the clients' address stays the same."""
        return self._again(lambda: None)

    def renew(self) -> None:
        """Start again with nothing: sooner done than deleting very many things."""
        assert self.process is not None
        data = self.process.data_dir
        self._again(lambda: shutil.rmtree(data))

    def _again(self, meanwhile: Callable[[], None]) -> float:
        assert self.process is not None and self.guard is not None
        before = self.process.pids
        self.process.stop(STARTUP)
        meanwhile()
        took = self.process.start().started_in
        self.pid = self.process.pid
        for pid in before:
            self.guard.release(pid)
        for pid in self.process.pids:
            self.guard.watch(pid)
        return took


class OwnBroker(BrokerProcess):
    """amqpd, run by any command that takes the arguments of a Python interpreter.

    `checkout` is the directory whose amqpd it is; `root` a directory that is the root of the file system for it.
    """

    def __init__(
        self, command: str = sys.executable, *, loop: str = "", checkout: Path = ROOT, root: Path | None = None
    ) -> None:
        self.runner = [*(["chroot", str(root)] if root else []), *shlex.split(command)]
        self.loop, self.checkout, self.root = loop, checkout, root
        if loop == "uvloop" and subprocess.call([*self.runner, "-c", "import uvloop"], stderr=subprocess.DEVNULL):
            raise BrokerError(f"{' '.join(self.runner)} has no uvloop")
        super().__init__(private_directory(root) if root else None, startup_timeout=STARTUP)
        self._temporary = True

    def command(self) -> list[str]:
        words = super().command()
        inside = [self._seen(word) for word in words[3:]]
        return [*self.runner, *(["-c", WITHOUT_UVLOOP] if self.loop == "asyncio" else words[1:3]), *inside]

    def environment(self) -> dict[str, str]:
        """The checkout comes before what may be installed. A root has its own installation, which its / may hide."""
        places = {"PYTHONSAFEPATH": "1"} if self.root else {"PYTHONPATH": str(self.checkout)}
        return {**super().environment(), **places}

    def _seen(self, word: str) -> str:
        """A path as the broker sees it."""
        return word.removeprefix(str(self.root)) if self.root else word


def enter(stack: ExitStack, guard: Guard, name: str, broker: BrokerProcess) -> Subject:
    """Start a broker that ends with the stack, or with the benchmark, and its files with it."""
    stack.callback(shutil.rmtree, broker.directory, ignore_errors=True)
    stack.enter_context(broker)
    stack.callback(end, broker, guard)
    for pid in broker.pids:
        guard.watch(pid)
    return Subject(name, broker.url, broker.pid, broker, guard)


def end(broker: BrokerProcess, guard: Guard) -> None:
    """Stop it in order, and by force when that takes too long."""
    pids = broker.pids
    try:
        broker.stop(STOP_TIMEOUT)
    except (BrokerError, subprocess.TimeoutExpired):
        broker.kill()
    for pid in pids:
        guard.release(pid)
