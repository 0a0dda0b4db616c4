"""amqpctl as a program: the node, options, exit codes, and what is said when it cannot work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amqpd.cli.control import alive
from tests.support.control import Controlled, Ctl

ROOT = Path(__file__).parents[2]


def program(*words: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    """amqpctl in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "amqpd.cli.control", "--data-dir", str(data_dir), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --------------------------------------------------------------------------------------------------- the node


def test_ping(broker: Controlled, ctl: Ctl) -> None:
    assert ctl("ping").output == f"Will ping amqpd in {broker.data_dir}. Timeout: 60000 ms.\nPing succeeded\n"
    assert ctl("-q ping").output == "Ping succeeded\n"
    assert ctl("ping -n rabbit@here -t 1").output.startswith("Will ping rabbit@here. Timeout: 1000 ms.\n")


def test_status(broker: Controlled, ctl: Ctl) -> None:
    broker.put("queues/%2F/q")
    output = ctl("status").output
    assert output.startswith(f"Status of node amqpd@test ...\nRuntime\n\nOS PID: {os.getpid()}\n")
    assert "\nRabbitMQ version: 4.2.0\n" in output
    assert f"\nData directory: {broker.data_dir}\n" in output
    assert "\nConnection count: 0\nQueue count: 1\nMessage count: 0\nVirtual host count: 1\n" in output
    assert output.endswith("Listeners\n\nInterface: 127.0.0.1, port: 5672, protocol: amqp\n")
    known = json.loads(ctl("status --formatter json").stdout)
    assert known["Totals"]["Queue count"] == 1
    assert known["Listeners"][0]["port"] == 5672


def test_status_says_what_is_short(broker: Controlled, ctl: Ctl) -> None:
    assert "\nAlarms\n\n(none)\n\n" in ctl("status").output
    ctl("set_vm_memory_high_watermark absolute 1MB")
    known = json.loads(ctl("status --formatter json").stdout)
    assert list(known["Alarms"]) == ["memory"]
    assert known["Resources"]["Memory high watermark (bytes)"] == 1_000_000
    assert known["Resources"]["Low free disk space watermark (bytes)"] == 50_000_000
    output = ctl("status").output
    assert f"\nAlarms\n\nmemory: {known['Alarms']['memory'].split(' ')[0].split('.')[0]}" in output
    assert " MB used, limit 1.0 MB\n" in output


NODE = """
import sys, threading, time
from pathlib import Path
from tests.support.control import Controlled
stopped = threading.Event()
with Controlled(Path(sys.argv[1])) as node:
    node.node.stop = lambda why: stopped.set()
    print("ready", flush=True)
    stopped.wait()
    time.sleep(0.2)
"""


def test_stop_waits_until_the_process_has_ended(tmp_path: Path, run: Ctl) -> None:
    with subprocess.Popen([sys.executable, "-c", NODE, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as node:
        try:
            assert node.stdout is not None and node.stdout.readline() == b"ready\n"
            result = run("--data-dir", str(tmp_path), "stop")
            assert (result.exit_code, result.stderr) == (0, "")
            assert not alive(node.pid)
        finally:
            node.kill()
    assert not (tmp_path / "control.sock").exists()


def test_stop_gives_up_in_time(ctl: Ctl) -> None:
    """The node's process is this one, which goes on."""
    result = ctl("stop -t 0.1")
    assert result.exit_code == 75
    assert result.stderr == f"Error: the broker (process {os.getpid()}) has not ended after 0.1 seconds\n"


# -------------------------------------------------------------------------------------- when nobody is there


def test_no_broker(tmp_path: Path, run: Ctl) -> None:
    result = run("--data-dir", str(tmp_path), "list_queues")
    assert result.exit_code == 69
    assert f"there is no control socket ({tmp_path}/control.sock)" in result.stderr
    assert "AMQPD_DATA_DIR" in result.stderr


def test_a_broker_that_has_died(tmp_path: Path, run: Ctl) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    result = run("--data-dir", str(tmp_path), "ping")
    assert result.exit_code == 69
    assert "The broker is not running." in result.stderr


def test_a_data_directory_whose_path_is_too_long(tmp_path: Path, run: Ctl) -> None:
    result = run("--data-dir", str(tmp_path / ("x" * 200)), "ping")
    assert result.exit_code == 69
    assert "too long" in result.stderr


def test_a_broker_that_does_not_answer(tmp_path: Path, run: Ctl) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "control.sock"))
        silent.listen()
        result = run("--data-dir", str(tmp_path), "-t", "0.1", "ping")
    assert result.exit_code == 75
    assert result.stderr == "Error: the broker did not answer in time. Timeout value used: 0.1 seconds\n"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}}"])
def test_what_answers_is_no_broker(tmp_path: Path, run: Ctl, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "control.sock"))
        other.listen()

        def serve() -> None:
            client, _ = other.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("--data-dir", str(tmp_path), "ping")
        thread.join()
    assert result.exit_code == 69
    assert result.stderr.startswith(f"Error: unable to reach the broker with the data directory {tmp_path}: ")


def test_the_configuration_says_where_the_data_is(
    broker: Controlled, run: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "amqpd.conf"
    file.write_text(f"data_dir = {broker.data_dir}\n")
    monkeypatch.setenv("AMQPD_CONFIG_FILE", str(file))
    assert run("ping -q").exit_code == 0
    file.write_text("no such key = 1\n")
    result = run("ping -q")
    assert result.exit_code == 78
    assert "use --data-dir" in result.stderr


# -------------------------------------------------------------------------------------------- misunderstandings


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no_such_command",
        "list_queues --no-such-option",
        "add_user",
        "set_permissions guest .*",
        "delete_queue a b",
        "list_queues --formatter xml",
        "list_queues -t soon",
        "list_queues -t 0",
    ],
)
def test_what_cannot_be_understood_ends_with_64(ctl: Ctl, line: str) -> None:
    result = ctl(line)
    assert result.exit_code == 64
    assert "Usage:" in result.output


@pytest.mark.parametrize("line", ["--help", "-h", "list_queues --help", "--version"])
def test_help_ends_well(ctl: Ctl, line: str) -> None:
    assert ctl(line).exit_code == 0


# ---------------------------------------------------------------------------------------------- as a program


def test_a_process_of_its_own(broker: Controlled) -> None:
    broker.put("queues/%2F/q")
    ended = program("list_queues", "-q", data_dir=broker.data_dir)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "name\tmessages\nq\t0\n", "")
    ended = program("delete_vhost", "none", data_dir=broker.data_dir)
    assert ended.returncode == 65
    assert ended.stderr == "Error: Virtual host 'none' does not exist\n"


def test_it_starts_without_what_it_does_not_need(broker: Controlled) -> None:
    """It is run in loops and health checks: nothing heavy may creep in."""
    code = (
        "import sys; from amqpd.cli.control import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print({'aiohttp', 'asyncio', 'pamqp', 'sqlite3', 'amqpd.config'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "--data-dir", str(broker.data_dir), "ping", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "Ping succeeded\nset()\n"


def test_who_reads_the_output_may_go(broker: Controlled) -> None:
    client = broker.connect()

    def declare() -> None:
        for number in range(3000):
            client.declare(f"a queue with a rather long name, number {number}")

    broker.do(declare)
    command = [sys.executable, "-m", "amqpd.cli.control", "--data-dir", str(broker.data_dir), "list_queues"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ctl:
        assert ctl.stdout is not None and ctl.stderr is not None
        assert ctl.stdout.readline() == b"Timeout: 60.0 seconds ...\n"
        ctl.stdout.close()
        assert ctl.stderr.read() == b""
    assert ctl.returncode == 1


def test_a_name_that_is_no_utf8(broker: Controlled) -> None:
    command = [os.fsencode(word) for word in (sys.executable, "-m", "amqpd.cli.control")]
    command += [b"--data-dir", os.fsencode(broker.data_dir), b"delete_queue", b"\xff"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 64
    assert b"Traceback" not in ended.stderr
