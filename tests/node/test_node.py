"""The node as a process: start, signals, reload, a second process, a bad configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import pika
import pytest

AMQPD = [sys.executable, "-m", "amqpd.cli.server"]
PATIENCE = 30.0


class Process:
    """amqpd in a process of its own; its log is read line by line as it comes."""

    def __init__(self, directory: Path, config: str) -> None:
        self.config = directory / "amqpd.conf"
        self.config.write_text(config)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AMQPD_", "RABBITMQ_"))}
        self.popen = subprocess.Popen(
            [*AMQPD, "--config", str(self.config), "--data-dir", str(directory / "data")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
        )
        self.lines: list[str] = []
        self.coming: Queue[str | None] = Queue()
        self.reader = Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.coming.put(line.rstrip("\n"))
        self.coming.put(None)

    def wait_for(self, text: str) -> str:
        """The next log line that has this text in it."""
        while True:
            line = self.coming.get(timeout=PATIENCE)
            assert line is not None, f"amqpd ended before it said '{text}':\n" + "\n".join(self.lines)
            self.lines.append(line)
            if text in line:
                return line

    def port(self) -> int:
        found = re.search(r":(\d+)$", self.wait_for("started TCP listener on"))
        assert found is not None
        self.wait_for("Server startup complete; 0 plugins started.")
        return int(found[1])

    def end(self) -> int:
        code = self.popen.wait(PATIENCE)
        self.reader.join(PATIENCE)
        while (line := self.coming.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return code


@contextmanager
def running(directory: Path, config: str = "listeners.tcp.default = 127.0.0.1:0\n") -> Iterator[Process]:
    process = Process(directory, config)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait(PATIENCE)
        process.reader.join(PATIENCE)
        assert process.popen.stdout is not None
        process.popen.stdout.close()


def connect(port: int, **options: object) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, **options))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as process:
        connection = connect(process.port())
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
        channel.queue_declare("q", passive=True)
        process.popen.send_signal(number)
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
            connection.process_data_events(PATIENCE)
        assert closed.value.reply_code == 320
        assert closed.value.reply_text == (
            "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
        )
        assert process.end() == 0
    with running(tmp_path) as process:
        connection = connect(process.port())
        method, _, body = connection.channel().basic_get("q", auto_ack=True)
        assert (method.redelivered, body) == (False, b"kept")
        connection.close()
        assert any("after an orderly stop" in line for line in process.lines)


def test_what_it_says_at_a_start(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        port = process.port()
        log = "\n".join(process.lines)
        assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00 \[info\] <0\.\d+\.0> Starting amqpd", log)
        assert f"data directory: {tmp_path / 'data'}" in log
        assert f"clients connect to amqp://127.0.0.1:{port}/" in log


@pytest.mark.skipif(
    sys.platform != "linux" or sys.implementation.name != "cpython",
    reason="the HTTP library leaves no trace to look for",
)
def test_the_control_surface_loads_when_it_is_asked_for(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        process.port()
        maps = Path(f"/proc/{process.popen.pid}/maps")
        assert "aiohttp" not in maps.read_text()
        for _ in range(2):
            status = subprocess.run(
                [sys.executable, "-m", "amqpd.cli.control", "--data-dir", tmp_path / "data", "status"],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert status.returncode == 0, status.stderr
            assert "aiohttp" in maps.read_text()
        process.popen.terminate()
        assert process.end() == 0
        assert not (tmp_path / "data" / "control.sock").exists()


def test_the_log_lines_that_people_look_for(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        port = process.port()
        connection = connect(port, client_properties={"connection_name": "mine"})
        process.wait_for("accepting AMQP connection 127.0.0.1:")
        line = process.wait_for("authenticated")
        assert " - mine: user 'guest' authenticated and granted access to vhost '/'" in line
        connection.close()
        assert "vhost: '/', user: 'guest')" in process.wait_for("closing AMQP connection (127.0.0.1:")
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert raw.recv(8) == b"AMQP\x00\x00\x09\x01"
        process.wait_for("HTTP GET request detected on AMQP port")
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect(port, credentials=pika.PlainCredentials("guest", "wrong"))
        process.wait_for("PLAIN login refused: user 'guest' - invalid credentials")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        process.port()
        (tmp_path / "second").mkdir()
        second = subprocess.run(
            [*AMQPD, "--config", str(process.config), "--data-dir", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert second.returncode != 0
        assert f"the data directory {tmp_path / 'data'} is in use by process {process.popen.pid}" in second.stdout
        assert "Traceback" not in second.stdout + second.stderr


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path, f"listeners.tcp.default = 127.0.0.1:{port}\n") as process:
            assert process.end() != 0
            log = "\n".join(process.lines)
            assert "amqpd cannot start" in log
            assert str(port) in log
            assert "Traceback" not in log


def test_sighup_takes_over_what_can_be_and_keeps_the_old_when_bad(tmp_path: Path) -> None:
    listen = "listeners.tcp.default = 127.0.0.1:0\n"
    with running(tmp_path, listen) as process:
        port = process.port()
        process.config.write_text(listen + "heartbeat = 7\nchannel_max = 3\n")
        process.popen.send_signal(signal.SIGHUP)
        line = process.wait_for("reload:")
        assert "heartbeat" in line and "channel_max" in line
        connection = connect(port)
        assert connection.channel(3).channel_number == 3
        connection.close()
        process.config.write_text(listen + "hartbeat = 5\n")
        process.popen.send_signal(signal.SIGHUP)
        assert "the old one stays in force" in process.wait_for("reload:")
        assert "heartbeat" in process.wait_for("hartbeat")


def test_a_bad_configuration_keeps_it_from_starting(tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text("heartbeat = 60\nframe_maxx = 5\n")
    run = subprocess.run([*AMQPD, "--config", str(bad)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode != 0
    assert f"{bad}:2" in run.stderr
    assert "frame_max" in run.stderr
    assert "Traceback" not in run.stderr


def test_check_config_prints_values_and_origins(tmp_path: Path) -> None:
    config = tmp_path / "amqpd.conf"
    config.write_text("heartbeat = 5\ndefault_pass = hidden\n")
    run = subprocess.run(
        [*AMQPD, "--config", str(config), "--data-dir", str(tmp_path / "data"), "--check-config"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env={**os.environ, "RABBITMQ_DEFAULT_USER": "alice"},
    )
    lines = run.stdout.splitlines()
    assert any(re.fullmatch(rf"heartbeat = 5 +# {re.escape(str(config))}:1", line) for line in lines)
    assert any(re.fullmatch(r"default_user = alice +# environment RABBITMQ_DEFAULT_USER", line) for line in lines)
    assert any(re.fullmatch(r"frame_max = \S+ +# default", line) for line in lines)
    assert "hidden" not in run.stdout
    assert not (tmp_path / "data").exists()


LISTEN = "listeners.tcp.default = 127.0.0.1:0\n"
EXPORTED = Path(__file__).parents[1] / "definitions" / "rabbitmq-3.10.json"


def test_definitions_are_loaded_before_clients_connect(tmp_path: Path) -> None:
    config = f"{LISTEN}load_definitions = {EXPORTED}\ndefinitions.skip_if_unchanged = true\n"
    with running(tmp_path, config) as process:
        process.wait_for("definitions imported: 3 users, 2 vhosts")
        connection = connect(
            process.port(), virtual_host="shop", credentials=pika.PlainCredentials("orders-app", "orders secret")
        )
        channel = connection.channel()
        channel.queue_declare("orders.quorum", durable=True, passive=True)
        connection.close()
        process.popen.send_signal(signal.SIGTERM)
        assert process.end() == 0
    with running(tmp_path, config) as process:
        process.wait_for("are those that were loaded last")
        process.port()


def test_with_definitions_there_is_no_first_user(tmp_path: Path) -> None:
    definitions = tmp_path / "definitions.d"
    definitions.mkdir()
    document = {"vhosts": [{"name": "/"}], "users": [{"name": "alice", "password": "secret"}]}
    document["permissions"] = [{"user": "alice", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}]
    (definitions / "all.json").write_text(json.dumps(document))
    config = (
        f"{LISTEN}definitions.import_backend = local_filesystem\ndefinitions.local.path = {definitions}\n"
        "default_queue_type = quorum\n"
    )
    with running(tmp_path, config) as process:
        port = process.port()
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect(port)
        connection = connect(port, credentials=pika.PlainCredentials("alice", "secret"))
        connection.channel().queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        connection.channel().queue_declare("q", durable=True)
        connection.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"queues": [{"name": "q", "vhost": "none"}]}', "queues[0] (name 'q', vhost 'none'): Please create virtual"),
        ("{", "the definitions are not JSON"),
        (None, "No such file or directory"),
    ],
)
def test_bad_definitions_keep_it_from_starting(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "definitions.json"
    if text is not None:
        file.write_text(text)
    with running(tmp_path, f"{LISTEN}load_definitions = {file}\n") as process:
        assert process.end() == 65
        [line] = [line for line in process.lines if "amqpd cannot start" in line]
        assert f"{file}: " in line and said in line
        assert not any("Traceback" in line for line in process.lines)
