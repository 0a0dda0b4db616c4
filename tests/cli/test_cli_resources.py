"""Limits of memory and disk, set by amqpctl."""

from __future__ import annotations

import pytest

from amqpd.server.resources import Threshold
from tests.support.control import Controlled, Ctl


@pytest.mark.parametrize(
    ("words", "threshold", "said"),
    [
        ("0.4", Threshold(fraction=0.4), "0.4 ..."),
        ("0", Threshold(fraction=0.0), "0 ..."),
        ("0.000000001", Threshold(fraction=1e-9), "0.000000001 ..."),
        ("absolute 2GB", Threshold(octets=2_000_000_000), "2GB bytes ..."),
        ("absolute 1000", Threshold(octets=1000), "1000 bytes ..."),
    ],
)
def test_the_memory_watermark(broker: Controlled, ctl: Ctl, words: str, threshold: Threshold, said: str) -> None:
    result = ctl(f"set_vm_memory_high_watermark {words}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output == f"Setting memory threshold on amqpd in {broker.data_dir} to {said}\n"
    assert broker.node.resources.limits.memory == threshold


@pytest.mark.parametrize(
    ("words", "threshold", "said"),
    [
        ("1000", Threshold(octets=1000), "1000 bytes ..."),
        ("2GiB", Threshold(octets=2 << 30), "2GiB bytes ..."),
        ("mem_relative 1.5", Threshold(fraction=1.5), "1.5 times the total RAM ..."),
    ],
)
def test_the_disk_limit(broker: Controlled, ctl: Ctl, words: str, threshold: Threshold, said: str) -> None:
    result = ctl(f"set_disk_free_limit {words}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output == f"Setting disk free limit on amqpd in {broker.data_dir} to {said}\n"
    assert broker.node.resources.limits.disk == threshold


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("set_vm_memory_high_watermark", 64, "not enough arguments"),
        ("set_vm_memory_high_watermark absolute", 64, "not enough arguments"),
        ("set_vm_memory_high_watermark absolute 1 2", 64, "too many arguments"),
        ("set_vm_memory_high_watermark 0.4 0.5", 64, "too many arguments"),
        ("set_vm_memory_high_watermark much", 65, "'much' is not a number, such as 0.6"),
        ("set_vm_memory_high_watermark 1.1", 65, "The threshold should be a fraction between 0.0 and 1.0"),
        ("set_vm_memory_high_watermark absolute much", 65, "'much' is not a size, such as 131072, 128kB or 16MiB"),
        ("set_disk_free_limit", 64, "not enough arguments"),
        ("set_disk_free_limit mem_relative", 64, "not enough arguments"),
        ("set_disk_free_limit 1 2", 64, "too many arguments"),
        ("set_disk_free_limit much", 65, "'much' is not a size, such as 131072, 128kB or 16MiB"),
        ("set_disk_free_limit mem_relative nan", 65, "'relative' is not a fraction of 0 or more"),
    ],
)
def test_what_is_no_limit(broker: Controlled, ctl: Ctl, line: str, code: int, said: str) -> None:
    before = broker.node.resources.limits
    result = ctl(line)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert broker.node.resources.limits == before


def test_publishers_are_shown_as_blocked(broker: Controlled, ctl: Ctl) -> None:
    client, idle = broker.connect(), broker.connect()
    ctl("set_vm_memory_high_watermark 0")
    broker.do(lambda: client.publish("", "q"))
    rows = ctl("list_connections -s name state").stdout.splitlines()
    assert set(rows) == {f"{client.session.name}\tblocked", f"{idle.session.name}\tblocking"}
    ctl("set_vm_memory_high_watermark 0.9")
    rows = ctl("list_connections -s state").stdout.splitlines()
    assert rows == ["running", "running"]
