"""A private RabbitMQ node behind the same handle as amqpd: the reference that the test programs are proven against.

Needs the `rabbitmq-server` package, not a running service: node name, ports, data and log directories are this node's
own, everything is bound to the loopback interface, and no plugin is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.broker import BrokerProcess, free_port

SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitProcess(BrokerProcess):
    """RabbitMQ as a child process on a private port and data directory."""

    def command(self) -> list[str]:
        """Write the configuration and say what to execute."""
        lines = ["log.console = true", "log.console.level = info", "log.file = false", *self.extra_config, ""]
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines))
        (self.directory / "enabled_plugins").write_text("[].\n")
        return [str(SCRIPT)]

    def environment(self) -> dict[str, str]:
        """The node's identity and places."""
        if not hasattr(self, "_dist_port"):
            self._dist_port = free_port()
        return {
            **os.environ,
            "HOME": str(self.directory),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.data_dir),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": self.host,
        }
