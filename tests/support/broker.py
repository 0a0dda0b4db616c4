"""A broker in a process of its own, for tests that start it, watch it, kill it and start it again.

The process is known by its pid and ended by its pid; a broker that outlives the test program is ended when the
interpreter leaves. Its output goes to a file in the data directory's parent; a thread copies it there and watches for
the line that says the broker is ready, so that nobody has to poll.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support import proc

READY = b"Server startup complete"
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def private_directory(root: Path) -> Path:
    """A directory for a broker's files below another root of the file system."""
    return Path(tempfile.mkdtemp(prefix="broker-", dir=root / "tmp"))


def leave_on_sigterm() -> None:
    """Make SIGTERM leave the interpreter in good order, so that brokers are ended: for programs, not for pytest."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


class BrokerError(Exception):
    """The broker did not start, or ended when it should not have."""


class BrokerProcess:
    """amqpd as a child process on a private port and data directory."""

    def __init__(
        self,
        directory: Path | None = None,
        config: Iterable[str] = (),
        *,
        python: str = sys.executable,
        startup_timeout: float = 30.0,
    ) -> None:
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="broker-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = self.directory / "data"
        self.log_path = self.directory / "broker.log"
        self.host, self.port = "127.0.0.1", free_port()
        self.python = python
        self.startup_timeout = startup_timeout
        self.started_in = 0.0
        self.extra_config = list(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._copier: threading.Thread | None = None
        self._settled = threading.Event()
        self._ready = False

    # What a broker of another make overrides.

    def command(self) -> list[str]:
        """Write the configuration and say what to execute."""
        file = self.directory / "broker.conf"
        file.write_text("\n".join([f"listeners.tcp.default = {self.host}:{self.port}", *self.extra_config, ""]))
        return [self.python, "-m", "amqpd.cli.server", "--config", str(file), "--data-dir", str(self.data_dir)]

    def environment(self) -> dict[str, str]:
        """The child's environment."""
        return {**os.environ, "PYTHONUNBUFFERED": "1"}

    # Life and death.

    @property
    def pid(self) -> int:
        """The pid of the process that was started."""
        if self._process is None:
            raise BrokerError("the broker was never started")
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The processes that must end with the broker."""
        return [self.pid]

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process and return at once."""
        if self.running:
            raise BrokerError("the broker is already running")
        self._settled.clear()
        self._ready = False
        self._process = subprocess.Popen(
            self.command(),
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        atexit.register(self.kill)
        assert self._process.stdout is not None
        self._copier = threading.Thread(target=self._copy, args=(self._process.stdout,), daemon=True)
        self._copier.start()

    def start(self) -> Self:
        """Start the process and wait until it says that it is ready."""
        began = time.monotonic()
        self.launch()
        if not self._settled.wait(self.startup_timeout) or not self._ready:
            state = "is not ready" if self.running else f"ended with status {self._process and self._process.poll()}"
            self.kill()
            raise BrokerError(
                f"the broker {state} after {time.monotonic() - began:.1f} s; its log ends:\n{self.log()[-4000:]}"
            )
        self.started_in = time.monotonic() - began
        return self

    def kill(self) -> None:
        """End the process (and its descendants) with SIGKILL, as a crash would."""
        if self._process is None:
            return
        for pid in proc.tree(self._process.pid) if self.running else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._reap(10.0)

    def stop(self, timeout: float = 30.0) -> int:
        """Ask the process to end with SIGTERM, wait for it, and return its exit status."""
        if self._process is None:
            raise BrokerError("the broker was never started")
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._reap(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(
                f"the broker did not stop within {timeout} s; its log ends:\n{self.log()[-4000:]}"
            ) from None
        return self._process.returncode

    def restart(self) -> float:
        """Stop the broker if it runs, start it on the same data directory, and return how long the start took."""
        if self.running:
            self.stop()
        return self.start().started_in

    def _reap(self, timeout: float) -> None:
        assert self._process is not None
        self._process.wait(timeout)
        if self._copier is not None:
            self._copier.join(timeout)
        atexit.unregister(self.kill)

    def _copy(self, output: IO[bytes]) -> None:
        """Copy the child's output to the log until it ends; say when the broker is ready or never will be."""
        with output, open(self.log_path, "ab", buffering=0) as log:
            for line in output:
                log.write(line)
                if READY in line:
                    self._ready = True
                    self._settled.set()
        self._settled.set()

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._temporary and kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def keep(self) -> None:
        """Do not remove the data and the log when leaving the context."""
        self._temporary = False

    # What can be seen from outside.

    @property
    def url(self) -> str:
        """Where a client finds the broker."""
        return f"amqp://guest:guest@{self.host}:{self.port}/%2F"

    def log(self) -> str:
        """Everything the broker has printed so far, over all its lives."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def rss(self) -> int:
        """Resident memory in bytes."""
        return proc.rss_bytes(self.pid)

    def cpu(self) -> float:
        """User and system CPU time of the process tree in seconds."""
        return proc.cpu_seconds(self.pid)

    def fds(self) -> int:
        """Open file descriptors."""
        return proc.fd_count(self.pid)

    def connections(self) -> int:
        """Client connections that the broker still holds."""
        return proc.server_connections(self.port)
