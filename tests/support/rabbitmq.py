"""A private RabbitMQ node behind the same handle as amqpd: the reference that the test programs are proven against.

Needs the `rabbitmq-server` package, not a running service: node name, ports, data and log directories and the port
mapper are this node's own, everything is bound to the loopback interface, and no plugin is loaded. The package may be
that of the system, or one in the root directory of another Debian (`root`, with /proc mounted), which is entered by
chroot and needs root's rights.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.broker import BrokerProcess, free_port, private_directory

SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitProcess(BrokerProcess):
    """RabbitMQ as a child process on a private port and data directory."""

    def __init__(
        self, directory: Path | None = None, config: Iterable[str] = (), *, root: Path | None = None, **options: Any
    ) -> None:
        inside = private_directory(root) if root and not directory else directory
        super().__init__(inside, config, **options)
        self._temporary = directory is None
        self.root = root
        self.epmd: subprocess.Popen[bytes] | None = None
        self._dist_port, self._epmd_port = free_port(), free_port()

    @property
    def pids(self) -> list[int]:
        return [self.pid, *([self.epmd.pid] if self.epmd is not None else [])]

    def launch(self) -> None:
        """Start the port mapper, then the node: else the node starts one for all, which outlives it."""
        if self.epmd is None:
            self.epmd = subprocess.Popen(
                [*self._entering(), "epmd"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        super().launch()

    def _reap(self, timeout: float) -> None:
        super()._reap(timeout)
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait(timeout)
            self.epmd = None

    def _entering(self) -> list[str]:
        return ["chroot", str(self.root)] if self.root else []

    def _seen(self, path: Path) -> str:
        """A path as the node sees it."""
        return str(Path("/") / path.relative_to(self.root)) if self.root else str(path)

    def command(self) -> list[str]:
        """Write the configuration and say what to execute."""
        lines = ["log.console = true", "log.console.level = info", "log.file = false", *self.extra_config, ""]
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines))
        (self.directory / "enabled_plugins").write_text("[].\n")
        return [*self._entering(), str(SCRIPT)]

    def environment(self) -> dict[str, str]:
        """The node's identity and places."""
        return {
            **os.environ,
            "HOME": self._seen(self.directory),
            # The virtual machine itself, without a shell above it: it takes SIGTERM for an orderly stop.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": self._seen(self.data_dir),
            "RABBITMQ_LOG_BASE": self._seen(self.directory / "log"),
            "RABBITMQ_CONFIG_FILE": self._seen(self.directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self._seen(self.directory / "enabled_plugins"),
            "RABBITMQ_PID_FILE": self._seen(self.directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": str(self._epmd_port),
        }
