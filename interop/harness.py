"""A broker as its users meet it: a process with a port, started, stopped and killed from outside.

Nothing here imports the broker. It is reached as a command and a URL, so the same tests run unchanged against a
RabbitMQ that somebody else started (`AMQPD_INTEROP_URL`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from interop.forward import Forward

EXTERNAL_URL = "AMQPD_INTEROP_URL"
EXTERNAL_HTTP_URL = "AMQPD_INTEROP_HTTP_URL"
HOST = "127.0.0.1"
STARTED = "Server startup complete"

Answer = TypeVar("Answer")


def wait_for(condition: Callable[[], Answer], what: str, timeout: float = 15.0, interval: float = 0.02) -> Answer:
    """The first true answer of `condition`; an AssertionError that says `what` was awaited when time is up."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(interval)


def free_port() -> int:
    """A port that nobody listens on, found by letting the system choose one."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(host: str, port: int) -> bool:
    """Whether a connection to this address is taken."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


class Broker:
    """What a test may know of any broker: where it is and how to log in."""

    def __init__(self, url: str, http_url: str | None = None) -> None:
        self.url = url
        self.http_url = http_url
        self.control_url = http_url
        """Where the HTTP API can be reached for housekeeping, if only through the control socket."""
        parts = urlsplit(url)
        self.host = parts.hostname or HOST
        self.port = parts.port or 5672
        self.user = parts.username or "guest"
        self.password = parts.password or "guest"

    @property
    def settings(self) -> dict[str, str]:
        """The facts that an upstream suite's edits, environment and arguments may name in braces."""
        return {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "password": self.password,
            "url": self.url,
            "http_url": self.http_url or "",
            "control_url": self.control_url or "",
            "http_port": str(urlsplit(self.http_url or "").port or ""),
        }


class OwnBroker(Broker):
    """A broker process of our own, on free ports, with its own data directory."""

    def __init__(self, directory: Path, extra_config: str = "") -> None:
        port, self.http_port = free_port(), free_port()
        super().__init__(f"amqp://guest:guest@{HOST}:{port}/")
        self.data_dir = directory / "data"
        self.config = directory / "rabbitmq.conf"
        self.output = directory / "broker.log"
        self.config.write_text(
            f"listeners.tcp.default = {HOST}:{port}\n"
            f"management.tcp.ip = {HOST}\n"
            f"management.tcp.port = {self.http_port}\n"
            f"log.console.level = info\n{extra_config}"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._forward = Forward(self.data_dir / "control.sock")
        self.control_url = self._forward.url
        self.start()

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def log(self) -> str:
        """Everything that the broker has printed, over all its starts."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def start(self) -> None:
        """Start the process and wait until it says that it is ready."""
        assert self._process is None, "the broker is already running"
        before = len(self.log())
        command = [sys.executable, "-m", "amqpd.cli.server", "--config", str(self.config)]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[1],
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        process = self._process

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"the broker ended with {process.returncode} while starting:\n{self.log()}")
            return STARTED in self.log()[before:]

        try:
            wait_for(ready, f"{STARTED!r}", timeout=30)
        except AssertionError as failure:
            self._end(signal.SIGKILL)
            raise AssertionError(f"{failure}\n{self.log()}") from None
        self.http_url = f"http://{HOST}:{self.http_port}" if listens(HOST, self.http_port) else None

    def stop(self) -> None:
        """An orderly stop: SIGTERM, and the process must end by itself with status 0."""
        status = self._end(signal.SIGTERM)
        assert status == 0, f"the broker ended with status {status} on SIGTERM:\n{self.log()}"

    def kill(self) -> None:
        """A crash: SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or kill) the broker and start it again with the same port and data."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """Whatever the state: no process is left."""
        self._forward.close()
        if self._process is not None:
            self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> int:
        assert self._process is not None, "the broker is not running"
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(signum)
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not end within 20 s of {signum.name}:\n{self.log()}") from None


def external() -> Broker | None:
    """The broker that the environment names, if it does."""
    url = os.environ.get(EXTERNAL_URL)
    return Broker(url, os.environ.get(EXTERNAL_HTTP_URL) or None) if url else None


def close_quietly(closable: Any) -> None:
    """Close what a broken test may have left half open; the test itself says what went wrong."""
    try:
        closable.close()
    except Exception:
        return
