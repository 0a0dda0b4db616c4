"""What the kernel says about a process: CPU time, memory, open files, the TCP connections on a port.

Everything is read from /proc, so that a broker written in any language can be watched by its pid. A *tree* is a
process and all its descendants: RabbitMQ's start script keeps a shell above the virtual machine, and a broker is free
to use helper processes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 0.05
_LISTEN, _TIME_WAIT = 0x0A, 0x06


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name (which may hold spaces): index 0 is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """The process and its descendants that are alive now, parents first."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
            except OSError:
                continue
    found, todo = [], [pid]
    while todo:
        current = todo.pop(0)
        found.append(current)
        todo += parents.get(current, [])
    return found


def alive(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree, with that of children which ended and were waited for."""
    total = 0
    for member in tree(pid):
        try:
            total += sum(int(ticks) for ticks in _stat(member)[11:15])
        except OSError:
            continue
    return total / _TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory of the tree."""
    total = 0
    for member in tree(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    return total


def peak_rss_bytes(pid: int) -> int:
    """The most memory that each process of the tree had resident since its start or since `forget_peak_rss`."""
    total = 0
    for member in tree(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    return total


def forget_peak_rss(pid: int) -> None:
    """Let the peak begin again at what is resident now (proc(5), clear_refs). Without the right to, it does not."""
    for member in tree(pid):
        try:
            Path(f"/proc/{member}/clear_refs").write_text("5")
        except OSError:
            continue


def fd_count(pid: int) -> int:
    """Open file descriptors of the tree."""
    total = 0
    for member in tree(pid):
        try:
            total += len(os.listdir(f"/proc/{member}/fd"))
        except OSError:
            continue
    return total


def server_connections(port: int) -> int:
    """TCP connections whose local end is this port and which some process still holds."""
    total = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            local_port, state, inode = int(fields[1].rpartition(":")[2], 16), int(fields[3], 16), fields[9]
            total += local_port == port and state not in (_LISTEN, _TIME_WAIT) and inode != "0"
    return total


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Ask again and again until the condition holds or the time is up: for things nothing will announce to us."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause.wait(_POLL)
    return True
