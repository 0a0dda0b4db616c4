"""The example plugin, installed by pip, in a broker process, by a real client."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.support.broker import ROOT, BrokerProcess

EXAMPLE = ROOT / "conf" / "plugins" / "round_robin"


class BrokerWithPlugins(BrokerProcess):
    """amqpd that finds packages in a directory of its own too."""

    def environment(self) -> dict[str, str]:
        paths = [str(self.directory / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**super().environment(), "PYTHONPATH": os.pathsep.join(paths)}


def wheel(directory: Path) -> Path:
    """The wheel that the example's pyproject.toml describes, packed here: building one takes tools from the network."""
    described = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    project = described["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    info, path = f"{stem}.dist-info", directory / f"{stem}-py3-none-any.whl"
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    files = {
        f"{name}.py": (EXAMPLE / f"{name}.py").read_text() for name in described["tool"]["setuptools"]["py-modules"]
    }
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points,
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(name, content)
    return path


def install(directory: Path) -> None:
    """pip installs the example where the broker will find it, and nowhere else."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run = subprocess.run(
        [*command, "--target", str(directory / "site"), str(wheel(directory))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@contextmanager
def channel(broker: BrokerProcess) -> Iterator[BlockingChannel]:
    """A channel with publisher confirms, on a connection of its own."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    try:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
    finally:
        connection.close()


def publish(opened: BlockingChannel, count: int) -> None:
    for number in range(count):
        opened.basic_publish("turns", "", b"%d" % number, pika.BasicProperties(delivery_mode=2), mandatory=True)


def taken(opened: BlockingChannel) -> list[list[bytes]]:
    """What lies in each of the queues."""
    found: list[list[bytes]] = [[], [], []]
    for name, bodies in zip("abc", found, strict=True):
        while (body := opened.basic_get(name, auto_ack=True)[2]) is not None:
            bodies.append(body)
    return found


def refused(call: Callable[[], object]) -> str:
    """The text with which the channel is closed."""
    with pytest.raises(ChannelClosedByBroker) as closed:
        call()
    assert closed.value.reply_code == 406
    return str(closed.value.reply_text)


def test_the_example_is_installed_used_removed_and_installed_again(tmp_path: Path) -> None:
    install(tmp_path)
    with BrokerWithPlugins(tmp_path) as broker:
        assert "plugin amqpd-round-robin 1.0 adds the exchange type 'x-round-robin'" in broker.log()
        assert "Server startup complete; 1 plugins started." in broker.log()
        with channel(broker) as opened:
            opened.exchange_declare("turns", "x-round-robin", durable=True)
            for name in "abc":
                opened.queue_declare(name, durable=True)
                opened.queue_bind(name, "turns", "")
            publish(opened, 6)
            assert taken(opened) == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]
            text = refused(lambda: opened.queue_bind("a", "turns", "key"))
            assert text == "PRECONDITION_FAILED - x-round-robin takes bindings without a routing key only"

        broker.stop()
        (tmp_path / "site").rename(tmp_path / "away")
        broker.start()
        assert "exchange 'turns' in vhost '/' refuses messages" in broker.log()
        assert broker.log().count("Server startup complete; 0 plugins started.") == 1
        with channel(broker) as opened:
            assert refused(lambda: publish(opened, 1)).endswith("exchange type x-round-robin not found")

        broker.stop()
        (tmp_path / "away").rename(tmp_path / "site")
        broker.start()
        with channel(broker) as opened:
            publish(opened, 3)
            assert taken(opened) == [[b"0"], [b"1"], [b"2"]]
        assert broker.stop() == 0
        assert "Traceback" not in broker.log()


def test_a_plugin_that_cannot_be_loaded_does_not_keep_the_broker_down(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "site" / "amqpd_round_robin.py").write_text("import a_module_that_nobody_has\n")
    with BrokerWithPlugins(tmp_path) as broker:
        said = (
            "plugin amqpd-round-robin 1.0 is not used: its exchange type 'x-round-robin' cannot be loaded from "
            "amqpd_round_robin:RoundRobin (ModuleNotFoundError: No module named 'a_module_that_nobody_has'); install a "
            "version that works or uninstall the package"
        )
        assert said in broker.log()
        assert "Server startup complete; 0 plugins started." in broker.log()
        with channel(broker) as opened:
            text = refused(lambda: opened.exchange_declare("turns", "x-round-robin"))
        assert text == "PRECONDITION_FAILED - unknown exchange type 'x-round-robin'"
        assert broker.stop() == 0
