"""What the system says about memory: this one, and others laid out as files."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

from amqpd.server import memory

GIB = 1 << 30


def system(root: Path, cgroup: str, **files: str) -> Path:
    """A system of 16 GiB whose process is in these groups; `files` are limits, `__` for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemFree:   1 kB\nMemTotal:       16777216 kB\nSwapTotal:  5 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = (
            root
            / "sys/fs/cgroup"
            / name.replace("__", "/").replace("_MAX", "memory.max").replace("_LIMIT", "memory.limit_in_bytes")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_without_a_group_it_is_the_machines(tmp_path: Path) -> None:
    assert memory.total(system(tmp_path, "")) == 16 * GIB


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/\n", {"_MAX": str(2 * GIB)}, 2 * GIB),
        ("0::/a/b\n", {"a__b___MAX": "max", "a___MAX": str(3 * GIB)}, 3 * GIB),
        ("0::/a/b\n", {"a__b___MAX": str(GIB), "a___MAX": str(3 * GIB)}, GIB),
        ("0::/a\n", {"a___MAX": str(64 * GIB)}, 16 * GIB),
        ("0::/elsewhere/on/the/host\n", {"_MAX": str(2 * GIB)}, 2 * GIB),
        ("5:cpu,memory:/a\n0::/b\n", {"memory__a___LIMIT": str(GIB)}, GIB),
        ("5:memory:/docker/1\n", {"memory___LIMIT": str(GIB)}, GIB),
        ("5:memory:/a\n", {"memory__a___LIMIT": "9223372036854771712"}, 16 * GIB),
        ("5:cpu:/a\n", {"memory__a___LIMIT": "1"}, 16 * GIB),
        ("0::/a\n", {"a___MAX": "no number"}, 16 * GIB),
    ],
)
def test_the_lowest_limit_of_its_groups_counts(tmp_path: Path, cgroup: str, files: dict[str, str], limit: int) -> None:
    assert memory.total(system(tmp_path, cgroup, **files)) == limit


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert memory.total(tmp_path) > 0
    assert memory.used(tmp_path) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_this_system() -> None:
    assert 0 < memory.used() < memory.total()
    (resident,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    assert memory.used() == pytest.approx(int(resident.split()[1]) * 1024, rel=0.2)


@pytest.mark.skipif(sys.implementation.name != "cpython" or sys.platform != "linux", reason="another allocator")
def test_what_is_given_back_is_gone() -> None:
    class Knot:
        def __init__(self) -> None:
            self.me = self
            self.held = [os.urandom(2000) for _ in range(50)]

    # What other tests have left free would be used first.
    memory.give_back()
    before = memory.used()
    gc.disable()
    try:
        for _ in range(1000):
            Knot()
        assert memory.used() - before > 90_000_000
        memory.give_back()
    finally:
        gc.enable()
    assert memory.used() - before < 30_000_000
